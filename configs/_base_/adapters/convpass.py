adapter = dict(type='mmsls.Convpass', rank=8, scale=1.0)
