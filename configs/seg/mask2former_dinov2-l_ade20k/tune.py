# Mask2Former, DINOv2-L, ADE20K: tune adapters on the frozen base. Fill in: data/ade/ADEChallengeData2016. Then:
# mmsls train mmsls::seg/mask2former_dinov2-l_ade20k/tune.py
_base_ = [
    *['../../_base_/' + part for part in ('models/mask2former_vit.py', 'datasets/ade20k.py', 'seg_80k.py')],
    *['../../_base_/' + part for part in ('backbones/dinov2_l.py', 'adapters/convpass.py')],
]
custom_imports = dict(imports=['mmsls.integrations.mmseg', 'mmdet.models'], allow_failed_imports=False)
model = dict(
    backbone=dict(**_base_.backbone, adapter=_base_.adapter),
    neck=dict(embed_dim=1024),
    decode_head=dict(in_channels=[1024] * 4),
)
optim_wrapper = dict(clip_grad=dict(max_norm=0.01, norm_type=2))
work_dir = 'work_dirs/mask2former_dinov2-l_ade20k/tune'
