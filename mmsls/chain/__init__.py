"""The whole chain by config: tune, score, prune, retrain, evaluate; resumable at each stage."""
