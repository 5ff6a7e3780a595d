# One VTAB-1k task: tuned and scored on its 1000 training images, reported on its test images; no image is left for
# validation.
# data_root holds one folder per task; mmsls vtab sets it and the task.
data_root = 'data/vtab-1k'
task = 'cifar'
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(224, 224), backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]


def _loader(ann_file, shuffle):
    dataset = dict(type='mmsls.VTAB1k', data_root=data_root, task=task, ann_file=ann_file, pipeline=pipeline)
    return dict(
        batch_size=64,
        num_workers=2,
        persistent_workers=True,
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
        dataset=dataset,
    )


train_dataloader, test_dataloader = _loader('train800val200.txt', True), _loader('test.txt', False)
test_evaluator = dict(type='Accuracy', topk=(1,))
val_dataloader = val_cfg = val_evaluator = None
