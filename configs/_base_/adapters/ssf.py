adapter = dict(type='mmsls.SSF')
