# BCCD on DeiT-Tiny: retrain what the index keeps, from the tuned values, as long as it was tuned.
# Fill in: pruning_index and load_from. Then: mmsls train mmsls::bccd_deit/pruned.py
_base_ = './tune.py'
model = dict(backbone=dict(pruning_index='work_dirs/bccd_deit/tune/pruning_index.json'))
load_from = 'work_dirs/bccd_deit/tune/epoch_16.pth'
custom_hooks = [dict(type='mmsls.SlimCheckpointHook')]
work_dir = 'work_dirs/bccd_deit/pruned'
