"""Hooks; importing this package registers them."""

from mmsls.hooks.distill_hook import DistillHook
from mmsls.hooks.reseed_hook import ReseedHook
from mmsls.hooks.resume_hook import ResumeHook
from mmsls.hooks.slim_checkpoint_hook import SlimCheckpointHook
from mmsls.hooks.sls_hook import SLSHook
from mmsls.hooks.tuning_hook import TuningHook

__all__ = ['DistillHook', 'ReseedHook', 'ResumeHook', 'SLSHook', 'SlimCheckpointHook', 'TuningHook']
