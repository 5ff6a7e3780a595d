# UPerNet, EVA-02-B, ADE20K: retrain what the index keeps, from the tuned values, as long as it was tuned.
# Fill in: pruning_index (of tune.py or mmsls score) and load_from (the tuned checkpoint). Then:
# mmsls train mmsls::seg/upernet_eva02-b_ade20k/pruned.py
_base_ = './tune.py'
model = dict(backbone=dict(pruning_index='work_dirs/upernet_eva02-b_ade20k/tune/pruning_index.json'))
load_from = 'work_dirs/upernet_eva02-b_ade20k/tune/iter_80000.pth'
custom_hooks = [dict(type='mmsls.SlimCheckpointHook')]
work_dir = 'work_dirs/upernet_eva02-b_ade20k/pruned'
