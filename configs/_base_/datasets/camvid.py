# CamVid: 352 road scenes, 480x360, 11 classes; label 11 is unlabelled. val is for scoring and choosing, test for
# reporting.
# The folder is beside the repository by default; the environment variable MMSLS_CAMVID names another one.
data_root = '{{$MMSLS_CAMVID:../shared/data/camvid}}/'
metainfo = dict(
    classes=(
        *('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign_symbol', 'fence', 'car', 'pedestrian'),
        'bicyclist',
    ),
    palette=[
        *[[128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [0, 0, 192], [128, 128, 0], [192, 128, 128]],
        *[[64, 64, 128], [64, 0, 128], [64, 64, 0], [0, 128, 192]],
    ],
)
ignore_index = 11
# What a head must know. Poles, signs, fences and people are a hundredth of the pixels or less: classes weigh by the
# root of the median pixel share of a class in train over their own, or they would never be predicted.
class_weight = [0.52, 0.44, 2.13, 0.38, 1.0, 0.67, 1.95, 2.0, 0.87, 2.69, 3.8]
# mmseg 1.4: with class weights the mean leaves ignored pixels out anyway, and avg_non_ignore=True raises an IndexError.
loss_decode = dict(class_weight=class_weight, avg_non_ignore=False)
head = dict(num_classes=11, ignore_index=ignore_index, loss_decode=loss_decode)
scale = (384, 288)
crop_size = (256, 256)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=scale, ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75, ignore_index=ignore_index),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]


def _loader(split, pipeline, **settings):
    return dict(
        num_workers=1,
        persistent_workers=True,
        dataset=dict(
            type='BaseSegDataset',
            data_root=data_root,
            metainfo=metainfo,
            data_prefix=dict(img_path=f'img_dir/{split}', seg_map_path=f'ann_dir/{split}'),
            pipeline=pipeline,
        ),
        **settings,
    )


train_dataloader = _loader('train', train_pipeline, batch_size=4, sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = _loader('val', test_pipeline, batch_size=3, sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = _loader('test', test_pipeline, batch_size=3, sampler=dict(type='DefaultSampler', shuffle=False))
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'], ignore_index=ignore_index)
