"""Plain Vision Transformers of mmsegmentation and mmpretrain."""
