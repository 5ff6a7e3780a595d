# DINOv3, ViT-S/16, LVD-1689M (Siméoni et al.); fetched from timm's hub, or name Meta's own file.
backbone = dict(
    type='mmsls.PrunedTimmBackbone',
    model_name='vit_small_patch16_dinov3',
    base_checkpoint='timm:vit_small_patch16_dinov3.lvd1689m',
    final_norm=True,
    out_indices=(2, 5, 8, 11),
)
