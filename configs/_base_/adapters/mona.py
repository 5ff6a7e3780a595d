adapter = dict(type='mmsls.Mona', rank=64, scale=1.0)
