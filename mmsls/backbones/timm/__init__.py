"""Vision Transformers of timm: plain ones, DINOv2 and DINOv3, EVA-02, BEiT, DeiT 3; Swin and Swin v2.

Raises:
    ValueError: On import, if timm is too old.
"""

import timm

from mmsls.environment.checks import older_timm

# Here, since what comes next imports blocks that an older one has not.
if trouble := older_timm(timm.__version__):
    raise ValueError(f'model_name: {trouble}')
