# A simple feature pyramid over four blocks of a ViT-S, as in ViTDet: the same grid at four scales, here of four blocks.
# Heads that bring their own pixel decoder (Mask2Former) take the pyramid alone. In an mmdet config the neck is mmseg's.
pyramid = dict(type='mmseg.Feature2Pyramid', embed_dim=384, rescales=[4, 2, 1, 0.5], norm_cfg=dict(type='BN'))
neck = [pyramid, dict(type='FPN', in_channels=[384] * 4, out_channels=256, num_outs=5)]
