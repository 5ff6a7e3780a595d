"""Hooks; importing this package registers them."""

from mmsls.hooks.slim_checkpoint_hook import SlimCheckpointHook
from mmsls.hooks.sls_hook import SLSHook
from mmsls.hooks.tuning_hook import TuningHook

__all__ = ['SLSHook', 'SlimCheckpointHook', 'TuningHook']
