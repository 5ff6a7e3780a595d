"""What every tool and the chain do with a config: read it, build its model, train, test, score."""

from mmsls.features.splits import split_dataloader
from mmsls.runs.bridging import bridge, fit_bridges
from mmsls.runs.building import build_model, export_base, merge_adapters
from mmsls.runs.configs import (
    check_checkpoint,
    default_split,
    load_config,
    load_configs,
    scoring_options,
    sls_settings,
)
from mmsls.runs.single import score, start_processes, test, train

__all__ = [
    'bridge',
    'build_model',
    'check_checkpoint',
    'default_split',
    'export_base',
    'fit_bridges',
    'load_config',
    'load_configs',
    'merge_adapters',
    'score',
    'scoring_options',
    'sls_settings',
    'split_dataloader',
    'start_processes',
    'test',
    'train',
]
