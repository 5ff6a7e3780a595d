# Swin v2-B, ImageNet-22k at 192 pixels, then 1k at 256; windows as for images of 1024 pixels, nowhere cut to the grid.
backbone = dict(
    type='mmsls.PrunedTimmBackbone',
    model_name='swinv2_base_window12to16_192to256',
    base_checkpoint='https://github.com/SwinTransformer/storage/releases/download/v2.0.0/swinv2_base_patch4_window12to16_192to256_22kto1k_ft.pth',
    img_size=1024,
    out_indices=(0, 1, 2, 3),
)
