adapter = dict(type='mmsls.LoRA', rank=8, scale=1.0, targets=('q', 'v'))
