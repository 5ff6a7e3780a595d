# Digit scenes by pixel: retrain what the index keeps, from the tuned values, for half as long. Fill in: pruning_index and load_from. Then:
# python tools/train.py configs/demo_seg/pruned.py
_base_ = './tune.py'
model = dict(backbone=dict(pruning_index='work_dirs/demo_seg/tune/pruning_index.json'))
load_from = 'work_dirs/demo_seg/tune/iter_400.pth'
custom_hooks = [dict(type='mmsls.SlimCheckpointHook')]
work_dir = 'work_dirs/demo_seg/pruned'
