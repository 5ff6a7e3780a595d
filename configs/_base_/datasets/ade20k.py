# ADE20K, 150 classes: label 0 of its files is "other" and no class (the data set class reduces it). Its test labels are
# not public, so val is both.
dataset_type = 'ADE20KDataset'
data_root = 'data/ade/ADEChallengeData2016'
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
            data_prefix=dict(img_path=f'images/{split}', seg_map_path=f'annotations/{split}'),
            pipeline=pipeline,
        ),
        **settings,
    )


train_dataloader = _loader('training', train_pipeline, batch_size=2, sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = _loader('validation', test_pipeline, batch_size=1, sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
