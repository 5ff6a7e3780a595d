# Digit scenes by pixel: tune Convpass in the demo's frozen nano Swin under an all-MLP head. `make demo-seg` runs it, with its data and base; alone:
# python -m mmsls.demo && python tools/train.py configs/demo_seg/tune.py
_base_ = [
    *['../_base_/' + part for part in ('seg_runtime.py', 'models/segformer_head_small.py')],
    *['../_base_/' + part for part in ('datasets/digit_scenes_segmentation.py', 'schedules/adamw_small_iters.py')],
    *['../_base_/' + part for part in ('backbones/nano_swin.py', 'adapters/convpass.py', 'hooks/sls.py')],
]
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(**_base_.backbone, adapter=_base_.adapter),
    decode_head=dict(in_channels=[24, 48, 96, 192], num_classes=11),
)
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=1), logger=dict(interval=20))
randomness = dict(seed=0)
work_dir = 'work_dirs/demo_seg/tune'
