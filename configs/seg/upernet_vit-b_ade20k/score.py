# UPerNet, ViT-B, ADE20K: score a tuned model's blocks into work_dirs/upernet_vit-b_ade20k/score/pruning_index.json:
# python tools/test.py configs/seg/upernet_vit-b_ade20k/score.py CHECKPOINT
_base_ = './tune.py'
test_dataloader = _base_.val_dataloader
test_evaluator = _base_.val_evaluator
work_dir = 'work_dirs/upernet_vit-b_ade20k/score'
