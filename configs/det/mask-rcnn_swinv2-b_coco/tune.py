# Mask R-CNN, Swin v2-B, COCO: tune adapters on the frozen base. Fill in: data/coco. Then:
# mmsls train mmsls::det/mask-rcnn_swinv2-b_coco/tune.py
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    *['../../_base_/' + part for part in ('det_1x.py', 'backbones/swinv2_b.py', 'adapters/convpass.py')],
]
model = dict(
    backbone=dict(_delete_=True, **_base_.backbone, adapter=_base_.adapter),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
work_dir = 'work_dirs/mask-rcnn_swinv2-b_coco/tune'
