# What every tuning config on COCO or VOC shares: mmdet's runtime, our schedule, hooks and registrations.
_base_ = ['mmdet::_base_/default_runtime.py', './schedules/adamw_1x.py', './hooks/sls.py']
custom_imports = dict(imports=['mmsls.integrations.mmdet'], allow_failed_imports=False)
