# Demo: retrain what the index keeps, from the tuned values, with bridges (`make demo` fits them first), for half as
# long and at half the rate.
_base_ = './tune.py'
model = dict(backbone=dict(pruning_index='work_dirs/demo/tune/pruning_index.json', bridge=True))
load_from = 'work_dirs/demo/tune/epoch_14.pth'
train_cfg = dict(max_epochs=7, val_interval=7)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', begin=1, end=7, T_max=6, eta_min=0, convert_to_iter_based=True),
]
custom_hooks = [dict(type='mmsls.SlimCheckpointHook')]
work_dir = 'work_dirs/demo/pruned'
