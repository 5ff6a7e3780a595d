# Retraining a pruned model, and controls without scoring.
custom_hooks = [dict(type='mmsls.SlimCheckpointHook')]
