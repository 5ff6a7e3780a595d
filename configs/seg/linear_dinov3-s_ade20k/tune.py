# Linear head, DINOv3-S, ADE20K: tune adapters on the frozen base. Fill in: data/ade/ADEChallengeData2016. Then:
# mmsls train mmsls::seg/linear_dinov3-s_ade20k/tune.py
_base_ = [
    *['../../_base_/' + part for part in ('models/linear_vit.py', 'datasets/ade20k.py', 'seg_80k.py')],
    *['../../_base_/' + part for part in ('backbones/dinov3_s.py', 'adapters/convpass.py')],
]
model = dict(backbone=dict(**_base_.backbone, adapter=_base_.adapter), decode_head=dict(num_classes=150))
work_dir = 'work_dirs/linear_dinov3-s_ade20k/tune'
