# RetinaNet, Swin-L, VOC 2007+2012: score a tuned model's blocks into
# work_dirs/retinanet_swin-l_voc/score/pruning_index.json:
# python tools/test.py configs/det/retinanet_swin-l_voc/score.py CHECKPOINT
_base_ = './tune.py'
test_dataloader = _base_.val_dataloader
test_evaluator = _base_.val_evaluator
work_dir = 'work_dirs/retinanet_swin-l_voc/score'
