# What every tuning config on ADE20K or VOC shares: runtime, schedule, hooks.
_base_ = ['./seg_runtime.py', './schedules/adamw_80k.py', './hooks/sls.py']
