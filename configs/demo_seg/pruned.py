# Digit scenes by pixel: retrain what the index keeps, from the tuned values, for half as long. Fill in: pruning_index
# and load_from. Then:
# mmsls train mmsls::demo_seg/pruned.py
_base_ = './tune.py'
model = dict(backbone=dict(pruning_index='work_dirs/demo_seg/tune/pruning_index.json'))
load_from = 'work_dirs/demo_seg/tune/iter_800.pth'
train_cfg = dict(max_iters=400)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=1e-5, power=0.9, by_epoch=False, begin=50, end=400),
]
custom_hooks = [dict(type='mmsls.SlimCheckpointHook')]
work_dir = 'work_dirs/demo_seg/pruned'
