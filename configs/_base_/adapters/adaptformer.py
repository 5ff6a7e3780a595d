adapter = dict(type='mmsls.AdaptFormer', rank=64, scale=0.1)
