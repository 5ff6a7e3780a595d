# Demo: tune Convpass in a frozen nano Swin under a small RetinaNet. `make demo` runs it, with its data and base; alone:
# python -m mmsls.demo && mmsls train mmsls::demo/tune.py
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/datasets/digit_scenes_detection.py',
    '../_base_/backbones/nano_swin.py',
    '../_base_/adapters/convpass.py',
]
custom_imports = dict(imports=['mmsls.integrations.mmdet'], allow_failed_imports=False)
model = dict(
    backbone=dict(_delete_=True, **_base_.backbone, adapter=_base_.adapter, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[48, 96, 192], out_channels=64, start_level=0, num_outs=3),
    # No convolutions in the head: what tells a 3 from an 8 must come from the backbone.
    bbox_head=dict(
        num_classes=10,
        in_channels=64,
        feat_channels=64,
        stacked_convs=0,
        # Digits are 39 to 64 pixels tall and 13 to 48 wide.
        anchor_generator=dict(octave_base_scale=3, scales_per_octave=2, ratios=[1.5], strides=[8, 16, 32]),
    ),
)
# Minutes on two cores: many small steps at a high rate; the adapters start at zero output and learn three times as
# fast.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=14, val_interval=14)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys={'.adapters.': dict(lr_mult=3.0)}),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', begin=1, end=14, T_max=13, eta_min=0, convert_to_iter_based=True),
]
# What a depth is worth with linear bridges for what is removed, before anything is retrained: at most 10 points lost.
custom_hooks = [
    dict(type='mmsls.SLSHook', criterion='bridged', max_drop=10.0),
    dict(type='mmsls.SlimCheckpointHook'),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=2, max_keep_ckpts=2))
randomness = dict(seed=0)
work_dir = 'work_dirs/demo/tune'
