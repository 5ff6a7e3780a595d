# Sign-language digits on DeiT-Tiny: 3 epochs of Convpass on 800 images, decided on 200 others. The whole chain:
# mmsls run mmsls::cls/holdout/sign_digits.py --criterion bridged --max-drop 1 --bridge
_base_ = [
    *['mmpretrain::_base_/default_runtime.py', '../../_base_/datasets/vtab_holdout.py'],
    *['../../_base_/' + part for part in ('models/deit-tiny_classifier.py', 'adapters/convpass.py', 'hooks/sls.py')],
]
custom_imports = dict(imports=['mmsls.integrations.mmpretrain'], allow_failed_imports=False)
model = dict(backbone=dict(adapter=_base_.adapter), head=dict(num_classes=10))
data = dict(data_root='../shared/data', task='sign_digits')
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3, val_interval=3)
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=20, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=0, end=3, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2), logger=dict(interval=16))
randomness = dict(seed=0)
work_dir = 'work_dirs/holdout/sign_digits'
