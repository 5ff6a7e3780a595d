adapter = dict(type='mmsls.RepAdapter', rank=8, scale=1.0)
