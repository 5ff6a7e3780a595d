# Swin-L, ImageNet-22k then 1k, as mmpretrain's model index names it.
backbone = dict(
    type='PrunedSwinTransformer',
    base_checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_large_patch4_window7_224_22kto1k.pth',
    embed_dims=192,
    depths=(2, 2, 18, 2),
    num_heads=(6, 12, 24, 48),
    window_size=7,
)
