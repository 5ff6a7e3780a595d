# DINOv2 with registers, ViT-L, LVD-142M (Oquab et al.); its patches of 14 pixels resampled to 16.
backbone = dict(
    type='mmsls.PrunedTimmBackbone',
    model_name='vit_large_patch14_reg4_dinov2',
    base_checkpoint='https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_reg4_pretrain.pth',
    img_size=512,
    model_args=dict(patch_size=16),
    final_norm=True,
    out_indices=(5, 11, 17, 23),
)
