adapter = dict(type='mmsls.BitFit')
