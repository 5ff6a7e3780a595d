# UPerNet over four blocks of a plain ViT-B: the same map at four scales, as mmseg configures it.
_base_ = './upernet_swin.py'
model = dict(
    neck=dict(type='MultiLevelNeck', in_channels=[768] * 4, out_channels=768, scales=[4, 2, 1, 0.5]),
    decode_head=dict(in_channels=[768] * 4),
    auxiliary_head=dict(in_channels=768, in_index=3),
)
