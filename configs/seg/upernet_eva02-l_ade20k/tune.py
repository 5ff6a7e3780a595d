# UPerNet, EVA-02-L, ADE20K: tune adapters on the frozen base. Fill in: data/ade/ADEChallengeData2016. Then:
# mmsls train mmsls::seg/upernet_eva02-l_ade20k/tune.py
_base_ = [
    *['../../_base_/' + part for part in ('models/upernet_vit.py', 'datasets/ade20k.py', 'seg_80k.py')],
    *['../../_base_/' + part for part in ('backbones/eva02_l.py', 'adapters/convpass.py')],
]
model = dict(
    backbone=dict(**_base_.backbone, adapter=_base_.adapter),
    neck=dict(in_channels=[1024] * 4, out_channels=1024),
    decode_head=dict(in_channels=[1024] * 4, num_classes=150),
    auxiliary_head=dict(in_channels=1024, num_classes=150),
)
work_dir = 'work_dirs/upernet_eva02-l_ade20k/tune'
