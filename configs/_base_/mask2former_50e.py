# What every Mask2Former for instances on a plain ViT shares: mmdet's own config, its schedule included, with our hooks
# and adapters at the rate that they have elsewhere: five times the heads'.
_base_ = ['mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', './hooks/sls.py']
custom_imports = dict(imports=['mmsls.integrations.mmdet', 'mmsls.integrations.mmseg'], allow_failed_imports=False)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'.adapters.': dict(lr_mult=5.0)}))
