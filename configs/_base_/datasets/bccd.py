# BCCD: 364 microscope images of blood, 640x480, three classes. val is for scoring and choosing, test for reporting.
# The folder is beside the repository by default; the environment variable MMSLS_BCCD names another one.
data_root = '{{$MMSLS_BCCD:../shared/data/bccd}}/'
metainfo = dict(classes=('RBC', 'WBC', 'Platelets'), palette=[(220, 20, 60), (90, 60, 180), (250, 190, 40)])
scale = (320, 224)  # 299x224 after keep_ratio, padded to 320x224

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]


def _loader(split, pipeline, **settings):
    return dict(
        num_workers=1,
        persistent_workers=True,
        dataset=dict(
            type='CocoDataset',
            data_root=data_root,
            metainfo=metainfo,
            ann_file=f'coco/instances_{split}.json',
            data_prefix=dict(img='JPEGImages/'),
            test_mode=split != 'train',
            pipeline=pipeline,
        ),
        **settings,
    )


def _evaluator(split):
    return dict(type='CocoMetric', ann_file=f'{data_root}coco/instances_{split}.json', metric='bbox')


train_dataloader = _loader('train', train_pipeline, batch_size=4, sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = _loader(
    'val', test_pipeline, batch_size=4, sampler=dict(type='DefaultSampler', shuffle=False), drop_last=False
)
test_dataloader = _loader(
    'test', test_pipeline, batch_size=4, sampler=dict(type='DefaultSampler', shuffle=False), drop_last=False
)
val_evaluator, test_evaluator = _evaluator('val'), _evaluator('test')
