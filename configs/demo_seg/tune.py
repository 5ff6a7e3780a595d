# Digit scenes by pixel: tune Convpass in the demo's frozen nano Swin under an all-MLP head. `make demo-seg` runs it,
# with its data and base; alone:
# python -m mmsls.demo && mmsls train mmsls::demo_seg/tune.py
_base_ = [
    *['../_base_/' + part for part in ('seg_runtime.py', 'models/segformer_head_small.py', 'adapters/convpass.py')],
    *['../_base_/' + part for part in ('datasets/digit_scenes_segmentation.py', 'backbones/nano_swin.py')],
    *['../_base_/' + part for part in ('schedules/digit_scenes_segmentation.py', 'hooks/sls_near_top.py')],
]
# At the schedule's high rate, adapters of scale 1 never leave the background.
backbone = dict(**_base_.backbone, adapter={**_base_.adapter, 'scale': 0.1})
head = dict(in_channels=[24, 48, 96, 192], num_classes=11, loss_decode=_base_.loss_decode)
model = dict(data_preprocessor=dict(size=(128, 128)), backbone=backbone, decode_head=head)
default_hooks = dict(checkpoint=dict(interval=400, max_keep_ckpts=2), logger=dict(interval=20))
randomness = dict(seed=0)
work_dir = 'work_dirs/demo_seg/tune'
