# RetinaNet over four blocks of a small plain ViT: mmseg's neck scales their maps to strides 8, 16, 32 and 64, mmdet's
# FPN joins them.
_base_ = './retinanet_small.py'
model = dict(
    neck=[
        dict(type='mmseg.Feature2Pyramid', embed_dim=192, rescales=[2, 1, 0.5, 0.25], norm_cfg=dict(type='BN')),
        dict(type='FPN', in_channels=[192] * 4, out_channels=64, num_outs=4),
    ],
    bbox_head=dict(anchor_generator=dict(strides=[8, 16, 32, 64])),
)
