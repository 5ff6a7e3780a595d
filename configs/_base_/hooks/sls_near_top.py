# As sls.py, with a threshold close to the top block's score: for curves that are flat from the first block on, as those
# of regions often are (docs/results/rule.md).
custom_hooks = [
    dict(type='mmsls.SLSHook', alpha=0.9, scope='stage', max_samples=2000),
    dict(type='mmsls.SlimCheckpointHook'),
]
