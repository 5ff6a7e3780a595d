# DINO, DINOv2-S, COCO: tune adapters on the frozen base. Fill in: data/coco. Then:
# mmsls train mmsls::det/dino_dinov2-s_coco/tune.py
_base_ = ['../../_base_/' + part for part in ('dino_1x.py', 'necks/pyramid_s.py', 'backbones/dinov2_s.py')] + [
    '../../_base_/adapters/convpass.py'
]
levels = dict(in_channels=[384] * 4, kernel_size=1, out_channels=256, act_cfg=None, num_outs=4)
model = dict(
    backbone=dict(_delete_=True, **_base_.backbone, adapter=_base_.adapter),
    neck=[
        {**_base_.pyramid, 'rescales': [2, 1, 0.5, 0.25]},
        dict(type='ChannelMapper', norm_cfg=dict(type='GN', num_groups=32), **levels),
    ],
)
work_dir = 'work_dirs/dino_dinov2-s_coco/tune'
