"""What the chain needs of its configs, seen before hours of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmsls import runs
from mmsls.features.trial import built_evaluator
from mmsls.hooks import DistillHook
from mmsls.hooks.teacher import teacher_file
from mmsls.runs.resuming import check_keeps_checkpoints, is_hook

PARTS = {
    'train': ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    'val': ('val_dataloader', 'val_cfg', 'val_evaluator'),
    'test': ('test_dataloader', 'test_cfg', 'test_evaluator'),
}


def with_test(cfg: Config) -> Config:
    """Return a config that tests: one without a test part does so on its validation images.

    Raises:
        ValueError: If it has neither part, or half of one.
    """
    if has(cfg, 'test'):
        return cfg
    if not has(cfg, 'val'):
        raise ValueError(
            'config: it has neither a test part (test_dataloader, test_cfg, test_evaluator) nor a val part; the chain '
            'needs one to compare models on'
        )
    cfg = deepcopy(cfg)
    cfg.test_dataloader, cfg.test_evaluator = deepcopy(cfg.val_dataloader), deepcopy(cfg.val_evaluator)
    cfg.test_cfg = {'type': 'TestLoop'}
    return cfg


def has(cfg: Mapping[str, Any], part: str) -> bool:
    """Whether a config has its train, val or test part.

    Raises:
        ValueError: If it has some of the settings that belong together.
    """
    missing = [name for name in PARTS[part] if cfg.get(name) is None]
    if 0 < len(missing) < len(PARTS[part]):
        raise ValueError(f'config: {", ".join(PARTS[part])} belong together, and it lacks {", ".join(missing)}')
    return not missing


def check_trains(cfg: Config) -> None:
    """Refuse a config that cannot be trained and tested.

    Raises:
        ValueError: Naming what it lacks.
    """
    if cfg.get('model') is None:
        raise ValueError('config: it has no model')
    if not has(cfg, 'train'):
        raise ValueError(f'config: it has no train part ({", ".join(PARTS["train"])})')
    for part in ('val', 'test'):
        has(cfg, part)
    check_keeps_checkpoints(cfg)


def check_configs(
    tune: Config, pruned: Config | None = None, baseline: Config | None = None, decide_first: bool = False
) -> None:
    """Refuse configs that the chain cannot run to its end, before anything is written.

    Raises:
        ValueError: Naming what one lacks.
        FileNotFoundError: If data or a base is not there.
    """
    if decide_first:
        check_decides_first(tune, pruned)
    for cfg in filter(None, (tune, pruned, baseline)):
        check_trains(cfg)
        with_test(cfg)
        runs.check_presence(cfg, *PARTS)
        check_distils(cfg)
    check_scores(tune)


def check_decides_first(tune: Config, pruned: Config | None) -> None:
    """Refuse what only a tuned model allows.

    Raises:
        ValueError: If there is a config of the retraining, nothing to score, or the criterion tries the model.
    """
    if pruned is not None:
        raise ValueError(
            '--decide-first trains once, by the config that tunes; leave out --pruned, --bridge, --refit-head and '
            '--distill, which are for the retraining'
        )
    if any(is_hook(hook, 'DistillHook') for hook in tune.get('custom_hooks') or []):
        raise ValueError(
            '--decide-first tunes no model at full depth that could be distilled; leave DistillHook out of custom_hooks'
        )
    if tune.model.backbone.get('base_checkpoint') is None and not tune.get('load_from'):
        raise ValueError(
            '--decide-first scores the model before any training, and this one starts from nothing: set '
            'model.backbone.base_checkpoint, or load_from'
        )
    runs.check_untuned(runs.scoring_options(tune))


def check_distils(cfg: Config) -> None:
    """Refuse settings of a config's `DistillHook` that would end the retraining when it begins.

    Raises:
        ValueError: If its weight is out of range.
        FileNotFoundError: If the teacher that it names is not there.
    """
    for hook in cfg.get('custom_hooks') or []:
        if is_hook(hook, 'DistillHook'):
            settings = {key: value for key, value in hook.items() if key not in ('type', 'priority')}
            named = DistillHook(**settings).teacher
            if named is not None:
                teacher_file(named)


def check_scores(cfg: Config) -> None:
    """Refuse a config whose images for scoring are not there.

    Raises:
        ValueError: Naming the split.
    """
    split = runs.default_split(cfg)
    try:
        runs.split_dataloader(cfg, split)
    except ValueError as error:
        raise ValueError(f'{error}; blocks are scored on labelled {split} images, so add one') from error


def check_all_build(cfgs: Sequence[Config]) -> None:
    """Build what several trainings would be followed by, each test part once (see `check_builds`)."""
    parts = {str((cfg.get('default_scope'), cfg.test_dataloader, cfg.test_evaluator)): cfg for cfg in reversed(cfgs)}
    for cfg in parts.values():
        check_builds(cfg)


def check_builds(cfg: Config) -> None:
    """Build the test's data set and evaluator, so that what is not there is missed before hours of training.

    Raises:
        Exception: Whatever the host raises.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    loader = deepcopy(cfg.test_dataloader)
    loader.num_workers, loader.persistent_workers = 0, False
    loader.pop('prefetch_factor', None)
    dataset = Runner.build_dataloader(loader, seed=0).dataset
    built_evaluator(cfg.test_evaluator, dataset)
