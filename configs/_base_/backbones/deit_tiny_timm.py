# DeiT-Tiny/16 of timm, from the same file as deit_tiny.py; in every toolbox.
backbone = dict(
    type='mmsls.PrunedTimmBackbone',
    model_name='deit_tiny_patch16_224',
    base_checkpoint='{{$MMSLS_DEIT_TINY:../shared/data/deit_tiny_in1k/deit_tiny_patch16_224_pipevit.pth}}',
    img_size=224,
    out_indices=(2, 5, 8, 11),
)
