# DeiT-Tiny/16, ImageNet-1k (timm keys). The environment variable MMSLS_DEIT_TINY names another file.
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
    ),
    backbone=dict(
        type='PrunedVisionTransformer',
        arch='deit-tiny',
        base_checkpoint='{{$MMSLS_DEIT_TINY:../shared/data/deit_tiny_in1k/deit_tiny_patch16_224_pipevit.pth}}',
    ),
    head=dict(type='VisionTransformerClsHead', num_classes=100, in_channels=192),
)
