# CamVid: retrain what the index keeps, from the tuned values, as long as it was tuned.
# Fill in: pruning_index and load_from. Then: mmsls train mmsls::camvid/pruned.py
_base_ = './tune.py'
model = dict(backbone=dict(pruning_index='work_dirs/camvid/tune/pruning_index.json'))
load_from = 'work_dirs/camvid/tune/iter_400.pth'
custom_hooks = [dict(type='mmsls.SlimCheckpointHook')]
work_dir = 'work_dirs/camvid/pruned'
