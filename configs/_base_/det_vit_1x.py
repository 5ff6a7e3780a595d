# det_1x.py for a plain ViT, whose pyramid is MMSegmentation's: both toolboxes are registered.
_base_ = './det_1x.py'
custom_imports = dict(imports=['mmsls.integrations.mmdet', 'mmsls.integrations.mmseg'], allow_failed_imports=False)
