"""Hooks; importing this package registers them."""

from mmsls.hooks.slim_checkpoint_hook import SlimCheckpointHook
from mmsls.hooks.sls_hook import SLSHook

__all__ = ['SLSHook', 'SlimCheckpointHook']
