"""What every tool and the chain do with a config: read it, build its model, train, test, score."""

from mmsls.features.splits import split_dataloader
from mmsls.runs.bridging import bridge, fit_bridges
from mmsls.runs.building import build_model, export_base, merge_adapters
from mmsls.runs.configs import (
    also_files,
    check_checkpoint,
    check_untuned,
    default_split,
    load_config,
    load_configs,
    scoring_options,
    sls_settings,
    tries,
)
from mmsls.runs.launching import start_processes
from mmsls.runs.leaving_costs import leave_costs
from mmsls.runs.presence import check_presence
from mmsls.runs.refitting import check_refits, fit_head, refit
from mmsls.runs.single import score, test, train

__all__ = [
    'also_files',
    'bridge',
    'build_model',
    'check_checkpoint',
    'check_presence',
    'check_refits',
    'check_untuned',
    'default_split',
    'export_base',
    'fit_bridges',
    'fit_head',
    'leave_costs',
    'load_config',
    'load_configs',
    'merge_adapters',
    'refit',
    'score',
    'scoring_options',
    'sls_settings',
    'split_dataloader',
    'start_processes',
    'test',
    'train',
    'tries',
]
