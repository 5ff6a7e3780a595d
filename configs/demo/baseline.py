# Demo: what the same schedule reaches with the backbone frozen and no adapters; only its output norms, FPN and head
# learn.
_base_ = './tune.py'
model = dict(backbone=dict(adapter=None))
custom_hooks = [dict(type='mmsls.SlimCheckpointHook')]
work_dir = 'work_dirs/demo/baseline'
