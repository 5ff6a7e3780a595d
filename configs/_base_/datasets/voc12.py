# Pascal VOC 2012, 21 classes with the background. Its test labels are not public, so val is both.
dataset_type = 'PascalVOCDataset'
data_root = 'data/VOCdevkit/VOC2012'
crop_size = (512, 512)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    # Behind Resize: maps are compared at the size of the original image.
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]


def _loader(split, pipeline, **settings):
    return dict(
        num_workers=4,
        persistent_workers=True,
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
            ann_file=f'ImageSets/Segmentation/{split}.txt',
            pipeline=pipeline,
        ),
        **settings,
    )


train_dataloader = _loader('train', train_pipeline, batch_size=2, sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = _loader('val', test_pipeline, batch_size=1, sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
