# BCCD on DeiT-Tiny, the other control: train all of it, the backbone at a tenth of the rate. Checkpoints are complete.
# First write the base in mmseg's keys:
# mmsls export-base mmsls::bccd_deit/tune.py work_dirs/bccd_deit/deit_tiny.pth &&
# mmsls train mmsls::bccd_deit/full_finetune.py
_base_ = './tune.py'
init_cfg = dict(type='Pretrained', checkpoint='work_dirs/bccd_deit/deit_tiny.pth')
model = dict(backbone=dict(base_checkpoint=None, adapter=None, init_cfg=init_cfg))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone.': dict(lr_mult=0.1)}))
custom_hooks = []
work_dir = 'work_dirs/bccd_deit/full_finetune'
