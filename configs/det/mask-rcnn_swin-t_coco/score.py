# Mask R-CNN, Swin-T, COCO: score a tuned model's blocks into work_dirs/mask-rcnn_swin-t_coco/score/pruning_index.json:
# python tools/test.py configs/det/mask-rcnn_swin-t_coco/score.py CHECKPOINT
_base_ = './tune.py'
test_dataloader = _base_.val_dataloader
test_evaluator = _base_.val_evaluator
work_dir = 'work_dirs/mask-rcnn_swin-t_coco/score'
