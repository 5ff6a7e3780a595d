# VTAB-1k, Swin-B, RepAdapter: tune, score, prune, retrain and test any tasks, with the table at the end:
# mmsls vtab --config mmsls::cls/vtab/swin-b_repadapter.py
_base_ = ['../../_base_/vtab.py', '../../_base_/models/swin-b_classifier.py', '../../_base_/adapters/repadapter.py']
model = dict(backbone=dict(adapter=_base_.adapter))
work_dir = 'work_dirs/vtab/swin-b_repadapter'
