# Cascade Mask R-CNN, DINOv2-L, COCO: retrain what the index keeps, from the tuned values, as long as it was tuned.
# Fill in: pruning_index (of tune.py or mmsls score) and load_from (the tuned checkpoint). Then:
# mmsls train mmsls::det/cascade-mask-rcnn_dinov2-l_coco/pruned.py
_base_ = './tune.py'
model = dict(backbone=dict(pruning_index='work_dirs/cascade-mask-rcnn_dinov2-l_coco/tune/pruning_index.json'))
load_from = 'work_dirs/cascade-mask-rcnn_dinov2-l_coco/tune/epoch_12.pth'
custom_hooks = [dict(type='mmsls.SlimCheckpointHook')]
work_dir = 'work_dirs/cascade-mask-rcnn_dinov2-l_coco/pruned'
