# VTAB-1k, Swin-B, Convpass: tune, score, prune, retrain and test any tasks, with the table at the end:
# mmsls vtab --config mmsls::cls/vtab/swin-b_convpass.py
_base_ = ['../../_base_/vtab.py', '../../_base_/models/swin-b_classifier.py', '../../_base_/adapters/convpass.py']
model = dict(backbone=dict(adapter=_base_.adapter))
work_dir = 'work_dirs/vtab/swin-b_convpass'
