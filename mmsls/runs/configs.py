"""What a run takes from a config: the file, the hook that scores, the split, what to leave out."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmsls.backbones.arguments import CUT
from mmsls.backbones.bridge import BridgeSetting, check_bridge
from mmsls.criteria import build_criterion
from mmsls.criteria.base import Needs
from mmsls.criteria.choosing import described, needs_of
from mmsls.environment.hosts import import_trouble
from mmsls.features.settings import scorer_options
from mmsls.features.tasks import sampler_class
from mmsls.files.given import remember
from mmsls.files.named_configs import is_name, named_config
from mmsls.files.paths import expand_home, expand_homes
from mmsls.hooks.sls_hook import SLSHook
from mmsls.pruning_index.keeping import also_path
from mmsls.runs.resuming import is_hook


def load_config(
    path: str, work_dir: str | None = None, options: Mapping[str, Any] | None = None, launcher: str = 'none'
) -> Config:
    """Read a config and settle where its results go.

    Args:
        path: Config file, or the name of one that comes with a package, such as `mmsls::demo/tune.py`.
        work_dir: Overrides the config's own; without either, `work_dirs/<name of the file>`.
        options: Settings that override the file's, dotted names allowed.
        launcher: MMEngine's job launcher.

    Raises:
        FileNotFoundError: If there is no such file, or none of that name.
        ValueError: If the config needs a toolbox, or another module, that is not installed.
    """
    asked, path = path, str(named_config(path)) if is_name(path) else expand_home(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f'config: no file at {path!r}')
    cfg = read_config(path)
    remember(cfg, asked if is_name(asked) else path, options)
    cfg.launcher = launcher
    if options:
        cfg.merge_from_dict(dict(options))
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', Path(path).stem)
    expand_homes(cfg._cfg_dict)
    return cfg


def read_config(path: str) -> Config:
    """Read a config file.

    Raises:
        ValueError: If it needs a toolbox, or another module, that is not installed; MMEngine's traceback buries that.
    """
    try:
        return Config.fromfile(path)
    except ImportError as error:
        trouble = import_trouble(error)
        if trouble is None:
            raise
        raise ValueError(f'config {path!r}: {trouble}') from error


def load_configs(
    paths: Iterable[str | None],
    work_dir: str | None = None,
    options: Mapping[str, Any] | None = None,
    launcher: str = 'none',
) -> list[Config | None]:
    """Read the configs of one chain alike (see `load_config`); a path that is None has none.

    Raises:
        FileNotFoundError: If one is not there.
    """
    return [None if path is None else load_config(path, work_dir, options, launcher) for path in paths]


def sls_settings(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the config's `SLSHook`, empty without one."""
    for hook in cfg.get('custom_hooks') or []:
        if isinstance(hook, SLSHook):
            return {**hook.options, 'interval': hook.interval, 'out_file': hook.out_file}
        if is_hook(hook, 'SLSHook'):
            return {key: value for key, value in hook.items() if key not in ('type', 'priority')}
    return {}


def scoring_options(cfg: Config, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the arguments of `BlockScorer` as a config and its host's task settle them.

    Args:
        cfg: A config, with an `SLSHook` or without.
        overrides: What wins over the hook's settings unless None.

    Raises:
        ValueError: If a setting is unknown or out of range.
    """
    return scorer_options(sls_settings(cfg), cfg.get('default_scope'), overrides)


def default_split(cfg: Config, overrides: Mapping[str, Any] | None = None) -> str:
    """Return the split to score, as the sampler declares it.

    It is the training images for classification, as the method's author does it, else `val`; a criterion that looks at
    no features has its own: `train` for the loss, `val` for a trial.
    """
    options = scoring_options(cfg, overrides)
    sampled = getattr(sampler_class(options['sampler']), 'default_split', 'val')
    return {'loss': 'train', 'trial': 'val'}.get(needs_among(options), sampled)


def needs_among(options: Mapping[str, Any]) -> Needs:
    """Return what the criterion among a scorer's options looks at."""
    return needs_of(build_criterion(options.get('criterion', 'sls')))


def tries(cfg: Config, overrides: Mapping[str, Any] | None = None) -> bool:
    """Whether the criterion that a config is scored by runs the model itself.

    Args:
        cfg: The config.
        overrides: As for `scoring_options`.
    """
    return needs_among(scoring_options(cfg, overrides)) == 'trial'


def also_files(cfg: Config, index_path: Path) -> list[str]:
    """Return the names of the files that the other criteria of a config leave beside an index."""
    return [also_path(index_path, str(described(one)['type'])).name for one in scoring_options(cfg)['also']]


def check_untuned(options: Mapping[str, Any]) -> None:
    """Refuse a criterion among a scorer's options that an untuned model says nothing by.

    Raises:
        ValueError: Naming it.
    """
    criterion = build_criterion(options.get('criterion', 'sls'))
    if needs_of(criterion) == 'trial':
        raise ValueError(
            f"criterion: {type(criterion).__name__} judges by the model's head, and an untuned head "
            "judges nothing; tune first, or take one that looks at features, such as 'probe'"
        )


def cut_by(cfg: Config, index: str | None) -> Config:
    """Return a copy of a config that keeps what an index file says, whatever it names itself; None leaves it as it is.

    Args:
        cfg: The config.
        index: Path of the index file.
    """
    cfg = deepcopy(cfg)
    if index is not None:
        for name in CUT:
            cfg.model.backbone.pop(name, None)
        cfg.model.backbone.pruning_index = index
    return cfg


def with_bridge(cfg: Config, setting: BridgeSetting = True) -> Config:
    """Return a copy of a config whose backbone has bridges where it is cut; a rank that it names itself stays.

    Args:
        cfg: The config.
        setting: A rank for the bridges.

    Raises:
        ValueError: If it is below 2.
    """
    check_bridge(setting)
    cfg = deepcopy(cfg)
    own = cfg.model.backbone.get('bridge')
    cfg.model.backbone.bridge = own if own and setting is True else setting
    return cfg


def with_refit(cfg: Config) -> Config:
    """Return a copy of a config of the retraining that starts from a head refitted in closed form."""
    cfg = deepcopy(cfg)
    cfg.refit_head = True
    return cfg


def with_distill(cfg: Config) -> Config:
    """Return a copy of a config of the retraining that distils the tuned model's features, by its hook or a new one."""
    cfg = deepcopy(cfg)
    hooks = list(cfg.get('custom_hooks') or [])
    if not any(is_hook(hook, 'DistillHook') for hook in hooks):
        cfg.custom_hooks = [*hooks, {'type': 'mmsls.DistillHook'}]
    return cfg


def without_training(cfg: Config) -> Config:
    """Return a copy without the training and validation parts, so that a runner builds neither."""
    cfg = deepcopy(cfg)
    for name in (
        'train_dataloader',
        'train_cfg',
        'optim_wrapper',
        'param_scheduler',
        'val_dataloader',
        'val_cfg',
        'val_evaluator',
    ):
        cfg[name] = None
    return cfg


def check_checkpoint(location: Any) -> Any:
    """Refuse a local file that is not there, before MMEngine's traceback does.

    `http://`, `open-mmlab://` and their like are MMEngine's own matter.

    Returns:
        The location, with the home folder in place of `~`.

    Raises:
        FileNotFoundError: Naming it.
    """
    if location is None or '://' in str(location):
        return location
    path = expand_home(str(location))
    if not Path(path).is_file():
        raise FileNotFoundError(f'checkpoint: no file at {path!r}')
    return path
