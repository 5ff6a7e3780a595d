# The small Swin of benchmarks/pretrain_swin.py (digits, sign-language digits, street-scene patches): no pre-trained
# Swin, but one that anybody can make.
backbone = dict(
    type='PrunedSwinTransformer',
    base_checkpoint='work_dirs/bccd_base/small_swin.pth',
    embed_dims=32,
    depths=(2, 2, 6, 2),
    num_heads=(1, 2, 4, 8),
    window_size=7,
)
