# BCCD blood cells: tune adapters on the small Swin; the last validation writes the pruning index. First make the base:
# python benchmarks/pretrain_swin.py && mmsls train mmsls::bccd/tune.py
_base_ = [
    'mmdet::_base_/default_runtime.py',
    *['../_base_/' + part for part in ('models/retinanet_small.py', 'datasets/bccd.py', 'schedules/adamw_small.py')],
    *['../_base_/' + part for part in ('backbones/small_swin.py', 'adapters/convpass.py', 'hooks/sls.py')],
]
custom_imports = dict(imports=['mmsls.integrations.mmdet'], allow_failed_imports=False)
backbone = dict(_delete_=True, **_base_.backbone, adapter=_base_.adapter, out_indices=(1, 2, 3))
model = dict(backbone=backbone, neck=dict(in_channels=[64, 128, 256]), bbox_head=dict(num_classes=3))
default_hooks = dict(
    checkpoint=dict(interval=4, save_best='coco/bbox_mAP', rule='greater', max_keep_ckpts=2), logger=dict(interval=20)
)
randomness = dict(seed=0)
work_dir = 'work_dirs/bccd/tune'
