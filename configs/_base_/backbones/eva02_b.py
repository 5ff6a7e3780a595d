# EVA-02, ViT-B (Fang et al.); fetched from timm's hub. Its patches of 14 pixels are resampled to 16.
backbone = dict(
    type='mmsls.PrunedTimmBackbone',
    model_name='eva02_base_patch14_224',
    base_checkpoint='timm:eva02_base_patch14_224.mim_in22k',
    img_size=512,
    model_args=dict(patch_size=16),
    out_indices=(2, 5, 8, 11),
)
