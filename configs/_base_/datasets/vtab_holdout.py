# A task with VTAB's lists where a decision is taken on images that were not tuned on: 800 to tune, 200 to decide and to
# choose checkpoints, the test images to report.
_base_ = ['vtab1k.py']


def _split(ann_file, shuffle):
    loader = _base_.train_dataloader if shuffle else _base_.test_dataloader
    rest = dict(batch_size=16, num_workers=0, persistent_workers=False, _delete_=True)
    return {**loader, **rest, 'dataset': {**loader['dataset'], 'ann_file': ann_file}}


train_dataloader, val_dataloader = _split('train800.txt', True), _split('val200.txt', False)
test_dataloader = _split('test.txt', False)
val_cfg = dict(type='ValLoop', _delete_=True)
val_evaluator = dict(type='Accuracy', topk=(1,), _delete_=True)
