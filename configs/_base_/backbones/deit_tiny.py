# DeiT-Tiny/16, ImageNet-1k. The environment variable MMSLS_DEIT_TINY names another file. Set img_size to the training
# resolution: the position embedding follows.
backbone = dict(
    type='PrunedVisionTransformer',
    base_checkpoint='{{$MMSLS_DEIT_TINY:../shared/data/deit_tiny_in1k/deit_tiny_patch16_224_pipevit.pth}}',
    img_size=224,
    patch_size=16,
    embed_dims=192,
    num_layers=12,
    num_heads=3,
    patch_bias=True,
    final_norm=True,
    norm_cfg=dict(type='LN', eps=1e-6),
    fused_attention=True,
    out_indices=(2, 5, 8, 11),
)
