# The nano Swin that `python -m mmsls.demo` pre-trains on plain sheets of digits; its sizes are those of
# mmsls.demo.nano_swin.NANO_SWIN.
backbone = dict(
    type='PrunedSwinTransformer',
    base_checkpoint='work_dirs/demo/nano_swin.pth',
    embed_dims=24,
    depths=(2, 2, 6, 2),
    num_heads=(1, 2, 4, 8),
    window_size=4,
    drop_path_rate=0.0,
)
