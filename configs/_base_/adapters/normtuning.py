adapter = dict(type='mmsls.NormTuning')
