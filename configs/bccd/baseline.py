# BCCD, the control: the same frozen base without adapters; only the output norms, the neck and the head learn.
# mmsls train mmsls::bccd/baseline.py
_base_ = './tune.py'
model = dict(backbone=dict(adapter=None))
custom_hooks = [dict(type='mmsls.SlimCheckpointHook')]
work_dir = 'work_dirs/bccd/baseline'
