# Demo: retrain what the index keeps, from the tuned values.
_base_ = './tune.py'
model = dict(backbone=dict(pruning_index='work_dirs/demo/pruning_index.json'))
load_from = 'work_dirs/demo/tuned/epoch_12.pth'
custom_hooks = [dict(type='mmsls.SlimCheckpointHook')]
work_dir = 'work_dirs/demo/retrained'
