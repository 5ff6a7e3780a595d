# ViT-B/16, ImageNet-21k (Dosovitskiy et al.); resized to 512x512 inputs.
_base_ = './deit_b.py'
backbone = dict(base_checkpoint='https://storage.googleapis.com/vit_models/imagenet21k/ViT-B_16.npz')
