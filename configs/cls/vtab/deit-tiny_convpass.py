# VTAB-1k, DeiT-Tiny, Convpass: tune, score, prune, retrain and test any tasks, with the table at the end:
# mmsls vtab --config mmsls::cls/vtab/deit-tiny_convpass.py \
#     --data-root ../shared/data --tasks sign_digits
_base_ = ['../../_base_/vtab.py', '../../_base_/models/deit-tiny_classifier.py', '../../_base_/adapters/convpass.py']
model = dict(backbone=dict(adapter=_base_.adapter))
work_dir = 'work_dirs/vtab/deit-tiny_convpass'
