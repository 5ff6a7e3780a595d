adapter = dict(type='mmsls.Bottleneck', rank=64, scale=1.0)
