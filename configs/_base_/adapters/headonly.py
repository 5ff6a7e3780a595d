adapter = dict(type='mmsls.HeadOnly')
