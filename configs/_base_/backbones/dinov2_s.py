# DINOv2 with registers, ViT-S, LVD-142M (Oquab et al.); its patches of 14 pixels resampled to 16.
backbone = dict(
    type='mmsls.PrunedTimmBackbone',
    model_name='vit_small_patch14_reg4_dinov2',
    base_checkpoint='https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_reg4_pretrain.pth',
    img_size=512,
    model_args=dict(patch_size=16),
    final_norm=True,
    out_indices=(2, 5, 8, 11),
)
