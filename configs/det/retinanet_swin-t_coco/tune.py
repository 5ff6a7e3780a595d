# RetinaNet, Swin-T, COCO: tune adapters on the frozen base. Fill in: data/coco. Then:
# mmsls train mmsls::det/retinanet_swin-t_coco/tune.py
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    *['../../_base_/' + part for part in ('det_1x.py', 'backbones/swin_t.py', 'adapters/convpass.py')],
]
model = dict(
    backbone=dict(_delete_=True, **_base_.backbone, adapter=_base_.adapter, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[192, 384, 768], start_level=0),
)
work_dir = 'work_dirs/retinanet_swin-t_coco/tune'
