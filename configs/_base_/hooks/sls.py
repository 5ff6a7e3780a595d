# Tuning and scoring: the last validation (or the test run) writes `pruning_index.json` to the work directory.
custom_hooks = [
    dict(type='mmsls.SLSHook', alpha=0.3, scope='stage', max_samples=2000),
    dict(type='mmsls.SlimCheckpointHook'),
]
