# Digit scenes by pixel: tune Convpass in the demo's frozen nano Swin under an all-MLP head. `make demo-seg` runs it, with its data and base; alone:
# python -m mmsls.demo && python tools/train.py configs/demo_seg/tune.py
_base_ = [
    *['../_base_/' + part for part in ('seg_runtime.py', 'models/segformer_head_small.py')],
    *['../_base_/' + part for part in ('datasets/digit_scenes_segmentation.py', 'schedules/adamw_small_iters.py')],
    *['../_base_/' + part for part in ('backbones/nano_swin.py', 'adapters/convpass.py', 'hooks/sls.py')],
]
# At the schedule's high rate, adapters of scale 1 never leave the background, which is nine tenths of all pixels.
adapter = {**_base_.adapter, 'scale': 0.1}
losses = [
    dict(type='CrossEntropyLoss', loss_name='loss_ce'),
    dict(type='DiceLoss', loss_name='loss_dice', loss_weight=3.0),
]
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(**_base_.backbone, adapter=adapter),
    decode_head=dict(in_channels=[24, 48, 96, 192], num_classes=11, loss_decode=losses),
)
max_iters = 800
train_cfg = dict(max_iters=max_iters, val_interval=400)
warm_up = dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50)
param_scheduler = [warm_up, dict(type='PolyLR', eta_min=1e-5, power=0.9, by_epoch=False, begin=50, end=max_iters)]
default_hooks = dict(checkpoint=dict(interval=400, max_keep_ckpts=1), logger=dict(interval=20))
randomness = dict(seed=0)
work_dir = 'work_dirs/demo_seg/tune'
