# Digit scenes by pixel: what the same schedule reaches with the backbone frozen and no adapters; only its output norms
# and the head learn.
# mmsls train mmsls::demo_seg/baseline.py
_base_ = './tune.py'
model = dict(backbone=dict(adapter=None))
custom_hooks = [dict(type='mmsls.SlimCheckpointHook')]
work_dir = 'work_dirs/demo_seg/baseline'
