# What every VTAB-1k config shares.
_base_ = ['mmpretrain::_base_/default_runtime.py', 'datasets/vtab1k.py', 'schedules/vtab_100e.py', 'hooks/slim.py']
custom_imports = dict(imports=['mmsls.integrations.mmpretrain'], allow_failed_imports=False)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2), logger=dict(interval=16))
randomness = dict(seed=0)
