# The digit scenes that `python -m mmsls.demo` draws, by pixel: ten digits and the background. Blocks are scored on val,
# results are reported on test.
data_root = 'work_dirs/demo/data/'
metainfo = dict(
    classes=(*tuple('0123456789'), 'background'),
    palette=[[25 * digit, 255 - 25 * digit, 128] for digit in range(10)] + [[0, 0, 0]],
)
# No flips: a mirrored digit is another sign.
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]


def _loader(split, **settings):
    # Images are tiny, so loading them in the training process costs less than worker processes on two cores.
    return dict(
        num_workers=0,
        persistent_workers=False,
        dataset=dict(
            type='BaseSegDataset',
            data_root=data_root,
            metainfo=metainfo,
            img_suffix='.png',
            data_prefix=dict(img_path=split, seg_map_path=f'semantic/{split}'),
            pipeline=pipeline,
        ),
        **settings,
    )


train_dataloader = _loader('train', batch_size=8, sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = _loader('val', batch_size=20, sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = _loader('test', batch_size=20, sampler=dict(type='DefaultSampler', shuffle=False))
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
# Nine tenths of all pixels are background: Dice counts every class alike.
loss_decode = [
    dict(type='CrossEntropyLoss', loss_name='loss_ce', loss_weight=1.0),
    dict(type='DiceLoss', loss_name='loss_dice', loss_weight=3.0),
]
