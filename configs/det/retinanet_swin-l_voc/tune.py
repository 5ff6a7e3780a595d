# RetinaNet, Swin-L, VOC 2007+2012: tune adapters on the frozen base. Fill in: data/VOCdevkit. Then:
# mmsls train mmsls::det/retinanet_swin-l_voc/tune.py
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/voc0712.py',
    *['../../_base_/' + part for part in ('det_1x.py', 'backbones/swin_l.py', 'adapters/convpass.py')],
]
model = dict(
    backbone=dict(_delete_=True, **_base_.backbone, adapter=_base_.adapter, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[384, 768, 1536], start_level=0),
    bbox_head=dict(num_classes=20),
)
train_dataloader = dict(dataset=dict(times=1))  # mmdet repeats VOC 3 times
work_dir = 'work_dirs/retinanet_swin-l_voc/tune'
