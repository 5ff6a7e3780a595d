# Cascade Mask R-CNN, Swin-B, COCO: score a tuned model's blocks into
# work_dirs/cascade-mask-rcnn_swin-b_coco/score/pruning_index.json:
# python tools/test.py configs/det/cascade-mask-rcnn_swin-b_coco/score.py CHECKPOINT
_base_ = './tune.py'
test_dataloader = _base_.val_dataloader
test_evaluator = _base_.val_evaluator
work_dir = 'work_dirs/cascade-mask-rcnn_swin-b_coco/score'
