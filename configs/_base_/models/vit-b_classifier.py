# ViT-B/16, ImageNet-21k (Dosovitskiy et al.; the file that the method's author starts from). The head's number of
# classes follows the task.
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
    ),
    backbone=dict(
        type='PrunedVisionTransformer',
        arch='base',
        base_checkpoint='https://storage.googleapis.com/vit_models/imagenet21k/ViT-B_16.npz',
    ),
    head=dict(type='VisionTransformerClsHead', num_classes=100, in_channels=768),
)
