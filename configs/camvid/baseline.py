# CamVid, the control: the same frozen base without adapters; only the head learns.
# mmsls train mmsls::camvid/baseline.py
_base_ = './tune.py'
model = dict(backbone=dict(adapter=None))
custom_hooks = [dict(type='mmsls.SlimCheckpointHook')]
work_dir = 'work_dirs/camvid/baseline'
