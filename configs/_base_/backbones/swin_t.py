# Swin-T, ImageNet-1k, as mmdet's own Swin configs name it.
backbone = dict(
    type='PrunedSwinTransformer',
    base_checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_tiny_patch4_window7_224.pth',
    embed_dims=96,
    depths=(2, 2, 6, 2),
    num_heads=(3, 6, 12, 24),
    window_size=7,
)
