# Swin-B, ImageNet-22k then 1k, as mmpretrain's model index names it.
backbone = dict(
    type='PrunedSwinTransformer',
    base_checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_base_patch4_window7_224_22kto1k.pth',
    embed_dims=128,
    depths=(2, 2, 18, 2),
    num_heads=(4, 8, 16, 32),
    window_size=7,
)
