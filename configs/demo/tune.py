# Demo: tune Convpass in a frozen nano Swin under a small RetinaNet. `make demo` runs it, with its data and base; alone:
# python -m mmsls.demo && python tools/train.py configs/demo/tune.py
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/datasets/digit_scenes_detection.py',
    '../_base_/backbones/nano_swin.py',
    '../_base_/adapters/convpass.py',
    '../_base_/hooks/sls.py',
]
custom_imports = dict(imports=['mmsls.integrations.mmdet'], allow_failed_imports=False)
model = dict(
    backbone=dict(_delete_=True, **_base_.backbone, adapter=_base_.adapter, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[48, 96, 192], out_channels=64, start_level=0, num_outs=3),
    bbox_head=dict(
        num_classes=10,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        # Digits are 10 to 65 pixels: anchors of 24, 48 and 96 pixels and two steps in between.
        anchor_generator=dict(octave_base_scale=3, strides=[8, 16, 32]),
    ),
)
# One sixth of an hour for everything on two cores: a short schedule with a high rate, for head and adapters alike.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=12)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=12, T_max=11, eta_min=0, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=3, max_keep_ckpts=1))
randomness = dict(seed=0)
work_dir = 'work_dirs/demo'
