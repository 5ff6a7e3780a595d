# Mask R-CNN, DINOv2-S, COCO: tune adapters on the frozen base. Fill in: data/coco. Then:
# mmsls train mmsls::det/mask-rcnn_dinov2-s_coco/tune.py
_base_ = [
    *['mmdet::_base_/' + part for part in ('models/mask-rcnn_r50_fpn.py', 'datasets/coco_instance.py')],
    *['../../_base_/' + part for part in ('det_1x.py', 'backbones/dinov2_s.py', 'adapters/convpass.py')],
]
custom_imports = dict(imports=['mmsls.integrations.mmdet', 'mmsls.integrations.mmseg'], allow_failed_imports=False)
pyramid = dict(type='mmseg.Feature2Pyramid', embed_dim=384, rescales=[4, 2, 1, 0.5], norm_cfg=dict(type='BN'))
model = dict(
    backbone=dict(_delete_=True, **_base_.backbone, adapter=_base_.adapter),
    neck=[pyramid, dict(type='FPN', in_channels=[384] * 4, out_channels=256, num_outs=5)],
)
work_dir = 'work_dirs/mask-rcnn_dinov2-s_coco/tune'
