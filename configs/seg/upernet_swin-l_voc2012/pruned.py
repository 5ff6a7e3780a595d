# UPerNet, Swin-L, VOC 2012: retrain what the index keeps, from the tuned values, as long as it was tuned.
# Fill in: pruning_index (of tune.py or mmsls score) and load_from (the tuned checkpoint). Then:
# mmsls train mmsls::seg/upernet_swin-l_voc2012/pruned.py
_base_ = './tune.py'
model = dict(backbone=dict(pruning_index='work_dirs/upernet_swin-l_voc2012/tune/pruning_index.json'))
load_from = 'work_dirs/upernet_swin-l_voc2012/tune/iter_80000.pth'
custom_hooks = [dict(type='mmsls.SlimCheckpointHook')]
work_dir = 'work_dirs/upernet_swin-l_voc2012/pruned'
