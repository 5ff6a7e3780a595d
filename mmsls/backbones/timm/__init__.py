"""Vision Transformers of timm: plain ones, DINOv2 and DINOv3, EVA-02, BEiT, DeiT 3; Swin and Swin v2."""
