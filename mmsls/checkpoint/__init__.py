"""Slim checkpoints: what of a task is stored, and what is said about it."""

from mmsls.checkpoint.meta import (
    MERGED_KEY,
    META_KEY,
    META_VERSION,
    as_meta,
    check_has_base,
    check_resume,
    describe,
    described,
    frozen_backbones,
    sole_backbone,
)
from mmsls.checkpoint.reading import read_slim, restore_history, strip_training_state
from mmsls.checkpoint.slimming import base_keys, name_changed, slim, slim_states

__all__ = [
    'MERGED_KEY',
    'META_KEY',
    'META_VERSION',
    'as_meta',
    'base_keys',
    'check_has_base',
    'check_resume',
    'describe',
    'described',
    'frozen_backbones',
    'name_changed',
    'read_slim',
    'restore_history',
    'slim',
    'slim_states',
    'sole_backbone',
    'strip_training_state',
]
