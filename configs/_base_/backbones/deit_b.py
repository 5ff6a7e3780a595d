# DeiT-B/16, ImageNet-1k, as facebookresearch/deit publishes it; resized to 512x512 inputs.
backbone = dict(
    type='PrunedVisionTransformer',
    base_checkpoint='https://dl.fbaipublicfiles.com/deit/deit_base_patch16_224-b5f2ef4d.pth',
    img_size=(512, 512),
    patch_size=16,
    embed_dims=768,
    num_layers=12,
    num_heads=12,
    patch_bias=True,
    final_norm=True,
    norm_cfg=dict(type='LN', eps=1e-6),
    interpolate_mode='bicubic',
    drop_path_rate=0.1,
    out_indices=(2, 5, 8, 11),
    fused_attention=True,
)
