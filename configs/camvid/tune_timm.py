# As tune.py, on timm's DeiT-Tiny: the same chain, other backbone lines. Alone: mmsls train mmsls::camvid/tune_timm.py
_base_ = [
    *['../_base_/' + part for part in ('seg_runtime.py', 'models/segformer_head_small.py', 'datasets/camvid.py')],
    *['../_base_/' + part for part in ('schedules/adamw_small_iters.py', 'hooks/sls.py')],
    *['../_base_/' + part for part in ('backbones/deit_tiny_timm.py', 'adapters/convpass.py')],
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, seg_pad_val=_base_.ignore_index),
    backbone={**_base_.backbone, 'adapter': _base_.adapter, 'img_size': _base_.crop_size},
    decode_head=dict(in_channels=[192] * 4, **_base_.head),
)
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2), logger=dict(interval=20))
randomness = dict(seed=0)
work_dir = 'work_dirs/camvid/tune_timm'
