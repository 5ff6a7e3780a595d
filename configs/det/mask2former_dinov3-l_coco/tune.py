# Mask2Former, DINOv3-L, COCO instances: tune adapters on the frozen base. Fill in: data/coco. Then:
# mmsls train mmsls::det/mask2former_dinov3-l_coco/tune.py
_base_ = [
    *['../../_base_/' + part for part in ('mask2former_50e.py', 'necks/pyramid_l.py')],
    *['../../_base_/' + part for part in ('backbones/dinov3_l.py', 'adapters/convpass.py')],
]
model = dict(
    backbone=dict(_delete_=True, **_base_.backbone, adapter=_base_.adapter),
    neck=_base_.pyramid,
    panoptic_head=dict(in_channels=[1024] * 4),
)
work_dir = 'work_dirs/mask2former_dinov3-l_coco/tune'
