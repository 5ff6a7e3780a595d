# Mask R-CNN, EVA-02-B, COCO: tune adapters on the frozen base. Fill in: data/coco. Then:
# mmsls train mmsls::det/mask-rcnn_eva02-b_coco/tune.py
_base_ = [
    *['mmdet::_base_/' + part for part in ('models/mask-rcnn_r50_fpn.py', 'datasets/coco_instance.py')],
    *['../../_base_/' + part for part in ('det_vit_1x.py', 'necks/pyramid_b.py')],
    *['../../_base_/' + part for part in ('backbones/eva02_b.py', 'adapters/convpass.py')],
]
model = dict(backbone=dict(_delete_=True, **_base_.backbone, adapter=_base_.adapter), neck=_base_.neck)
work_dir = 'work_dirs/mask-rcnn_eva02-b_coco/tune'
