"""What the chain makes of a config: its variants, what tells two runs apart, and checks of its rule."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmsls import runs
from mmsls.backbones.lookup import find_backbone
from mmsls.criteria import build_criterion
from mmsls.criteria.choosing import described, needs_of
from mmsls.runs.resuming import is_hook
from mmsls.scoring.overriding import overridden


def check_decision(tune: Config, decision: Mapping[str, Any]) -> None:
    """Refuse settings of the rule that are out of range or don't fit, the config's own or those that override them.

    Raises:
        ValueError: Naming the setting.
    """
    options = runs.scoring_options(tune, decision)
    if options['rule'].scope == 'model' and runs.tries(tune, decision):
        stages = len(find_backbone(runs.build_model(tune)).depths)
        options['rule'].check_stages(stages, described(options['criterion'])['type'])


def overriding(tune: Config, decision: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the rule that override an index's; a scope brings its own `min_depth`, as elsewhere."""
    if decision.get('scope') is None:
        return dict(decision)
    return {**decision, 'min_depth': runs.scoring_options(tune, decision)['rule'].min_depth}


def tuning(cfg: Config, decision: Mapping[str, Any]) -> Config:
    """Return a copy of a config whose hook decides by what overrides it, and says how sure that decision is.

    A criterion that runs the model does so once, on the weights that are evaluated: such a hook is left out.
    """
    if runs.tries(cfg):
        return without_sls_hook(cfg)
    cfg = deepcopy(cfg)
    options = overriding(cfg, decision)
    cfg.custom_hooks = [
        overridden(hook, options) if is_hook(hook, 'SLSHook') else hook for hook in cfg.get('custom_hooks') or []
    ]
    return cfg


def config_digest(*cfgs: Config | None) -> str:
    """Return a hash that tells runs of other configs apart (see `essential_text`)."""
    return hashlib.sha256(
        '\n'.join(essential_text(cfg) if cfg is not None else '' for cfg in cfgs).encode()
    ).hexdigest()


def essential_text(cfg: Config) -> str:
    """Return a config's text without what changes no result.

    That is the launcher, the work directory, how data are brought in and how their folder is spelled, and which curves
    are shown beside the one that decides.
    """
    cfg = deepcopy(cfg)
    for name in ('launcher', 'work_dir'):
        cfg.pop(name, None)
    for hook in cfg.get('custom_hooks') or []:
        if is_hook(hook, 'SLSHook'):
            hook.pop('also', None)
    for loader in [value for key, value in cfg.items() if key.endswith('_dataloader') and value]:
        spell_out(loader)
        for name in ('num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor'):
            loader.pop(name, None)
    return cfg.pretty_text


def spell_out(part: Any) -> None:
    """Make every local `data_root` absolute, in place."""
    if isinstance(part, dict):
        root = part.get('data_root')
        if isinstance(root, str) and '://' not in root:
            part['data_root'] = str(Path(root).expanduser().resolve())
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        spell_out(inner)


def without_sls_hook(cfg: Config) -> Config:
    """Return a copy of a config that does not score."""
    return without_hook(cfg, 'SLSHook')


def without_hook(cfg: Config, name: str) -> Config:
    """Return a copy of a config without the mmsls hook of a name."""
    cfg = deepcopy(cfg)
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if not is_hook(hook, name)]
    return cfg


def taught_by(cfg: Config, checkpoint: str) -> Config:
    """Return a copy of a config whose `DistillHook`, if it has one that names no teacher, has this one.

    Args:
        cfg: The config.
        checkpoint: The model tuned at full depth.
    """
    cfg = deepcopy(cfg)
    for hook in cfg.get('custom_hooks') or []:
        if is_hook(hook, 'DistillHook') and hook.get('teacher') is None:
            hook['teacher'] = checkpoint
    return cfg


def scored_by(cfg: Config, criterion: str, keep: float | None = None, rank: int | None = None) -> Config:
    """Return a copy of a config whose blocks are scored by a criterion, at the last validation as before.

    Args:
        cfg: The config.
        criterion: Its name.
        keep: The share that a decision keeps of single blocks. It may change after scoring, so the config holds 1.
        rank: Highest rank of the bridges that a criterion tries the model with, where it has such ones.
    """
    cfg, scoring = with_own_hook(cfg)
    built = build_criterion(criterion)
    ranked = rank is not None and needs_of(built) == 'trial'
    scoring['criterion'] = {'type': type(built).__name__, 'rank': rank} if ranked else criterion
    single = built.kind == 'importance'
    scoring.pop('max_drop' if single else 'keep', None)
    if single and keep is not None:
        scoring['keep'] = 1.0
    return cfg


def scored_also(cfg: Config, also: Sequence[str]) -> Config:
    """Return a copy of a config that leaves the curves of some other criteria beside its own.

    Args:
        cfg: The config.
        also: Their names; none for no others.
    """
    cfg, scoring = with_own_hook(cfg)
    scoring['also'] = list(also)
    return cfg


def with_own_hook(cfg: Config) -> tuple[Config, dict[str, Any]]:
    """Return a copy of a config, and the hook that scores in it: its own, or a new one."""
    cfg = deepcopy(cfg)
    cfg.custom_hooks = [dict(hook) for hook in cfg.get('custom_hooks') or []]
    if not any(is_hook(hook, 'SLSHook') for hook in cfg.custom_hooks):
        cfg.custom_hooks = [*cfg.custom_hooks, {'type': 'mmsls.SLSHook'}]
    return cfg, next(hook for hook in cfg.custom_hooks if is_hook(hook, 'SLSHook'))


def as_published(cfg: Config) -> Config:
    """Return a copy of a config that scores by SLS, reads by `alpha` and mends nothing, as the paper has it."""
    cfg = without_hook(without_bridge(cfg), 'DistillHook')
    cfg.pop('refit_head', None)
    for hook in cfg.get('custom_hooks') or []:
        if is_hook(hook, 'SLSHook'):
            hook['criterion'] = 'sls'
            for name in ('max_drop', 'keep'):
                hook.pop(name, None)
    return cfg


def without_bridge(cfg: Config) -> Config:
    """Return a copy of a config whose backbone is cut and nothing else."""
    cfg = deepcopy(cfg)
    cfg.model.backbone.pop('bridge', None)
    return cfg


def full_cfg(cfg: Config) -> Config:
    """Return a copy of a config with the frozen backbone at full depth and no adapter."""
    cfg = without_sls_hook(cfg)
    for name in ('adapter', 'bridge'):
        cfg.model.backbone.pop(name, None)
    return cfg


def depths_of(cfg: Config) -> tuple[int, ...]:
    """Return the blocks per stage of a config's backbone, as it is built."""
    return find_backbone(runs.build_model(cfg)).kept_depths
