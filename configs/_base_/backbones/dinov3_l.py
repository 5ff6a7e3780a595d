# DINOv3, ViT-L/16, LVD-1689M (Siméoni et al.); fetched from timm's hub, or name Meta's own file.
backbone = dict(
    type='mmsls.PrunedTimmBackbone',
    model_name='vit_large_patch16_dinov3',
    base_checkpoint='timm:vit_large_patch16_dinov3.lvd1689m',
    final_norm=True,
    out_indices=(5, 11, 17, 23),
)
