# UPerNet, Swin-L, VOC 2012: score a tuned model's blocks into
# work_dirs/upernet_swin-l_voc2012/score/pruning_index.json:
# python tools/test.py configs/seg/upernet_swin-l_voc2012/score.py CHECKPOINT
_base_ = './tune.py'
test_dataloader = _base_.val_dataloader
test_evaluator = _base_.val_evaluator
work_dir = 'work_dirs/upernet_swin-l_voc2012/score'
