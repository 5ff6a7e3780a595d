# BCCD blood cells on a really pre-trained base: tune adapters on DeiT-Tiny; the last validation scores the blocks.
# mmsls train mmsls::bccd_deit/tune.py
_base_ = [
    'mmdet::_base_/default_runtime.py',
    *['../_base_/' + part for part in ('models/retinanet_vit_small.py', 'datasets/bccd.py', 'hooks/sls.py')],
    *['../_base_/' + part for part in ('schedules/adamw_small.py', 'backbones/deit_tiny.py', 'adapters/convpass.py')],
]
custom_imports = dict(imports=['mmsls.integrations.mmdet', 'mmsls.integrations.mmseg'], allow_failed_imports=False)
frozen = dict(type='mmseg.PrunedVisionTransformer', img_size=(224, 320), adapter=_base_.adapter)
model = dict(backbone=dict(_delete_=True, **{**_base_.backbone, **frozen}), bbox_head=dict(num_classes=3))
checkpoint = dict(interval=4, save_best='coco/bbox_mAP', rule='greater', max_keep_ckpts=2)
default_hooks = dict(checkpoint=checkpoint, logger=dict(interval=20))
randomness = dict(seed=0)
work_dir = 'work_dirs/bccd_deit/tune'
