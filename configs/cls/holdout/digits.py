# Handwritten digits, which `python -m mmsls.vtab.digits work_dirs/vtab_data` writes; else as sign_digits.py.
# mmsls run mmsls::cls/holdout/digits.py --criterion bridged --max-drop 1 --bridge
_base_ = './sign_digits.py'
data = dict(data_root='work_dirs/vtab_data', task='digits')
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
work_dir = 'work_dirs/holdout/digits'
