"""Single runs by config: train, test, score. One place for what every tool and the pipeline do with a config."""

from __future__ import annotations

import os.path as osp
from collections.abc import Callable, Mapping
from copy import deepcopy
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import init_dist, is_distributed, is_main_process
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from mmsls.adapters import adapter_class
from mmsls.backbones import PrunedBackbone
from mmsls.backbones.blocks import merge_blocks
from mmsls.backbones.identity import EXTRA_STATE
from mmsls.block_scorer import BlockScorer, find_backbone, log_scores, scorer_options, walk
from mmsls.features.splits import parts_of, reported_split_warning, unwrap_cfg
from mmsls.features.tasks import sampler_class
from mmsls.files.paths import expand_home, expand_homes
from mmsls.files.trouble import naming
from mmsls.files.writing import whole_file
from mmsls.hooks.slim_checkpoint_hook import unwrapped
from mmsls.hooks.sls_hook import SLSHook
from mmsls.pruning_index import PruningIndex
from mmsls.resuming import is_hook, whole_checkpoints, with_resume_hooks

SPLITS = ('train', 'val', 'test')
RunnerAction = Callable[[Runner], None]


def load_config(
    path: str, work_dir: str | None = None, options: Mapping[str, Any] | None = None, launcher: str = 'none'
) -> Config:
    """Read a config and settle where its results go.

    Args:
        path: Config file.
        work_dir: Overrides the config's own; without either, `work_dirs/<name of the file>`.
        options: Settings that override the file's, dotted names allowed.
        launcher: MMEngine's job launcher.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    path = expand_home(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f'config: no file at {path!r}')
    cfg = Config.fromfile(path)
    cfg.launcher = launcher
    if options:
        cfg.merge_from_dict(dict(options))
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', Path(path).stem)
    expand_homes(cfg._cfg_dict)
    return cfg


def start_processes(cfg: Config) -> None:
    """Join the other processes of a launcher now; MMEngine does it in a runner only, and a resumed chain may need none."""
    if cfg.launcher != 'none' and not is_distributed():
        init_dist(cfg.launcher, **cfg.get('env_cfg', {}).get('dist_cfg', {'backend': 'nccl'}))


def train(cfg: Config, prepare: RunnerAction | None = None) -> Runner:
    """Train by config and return the finished runner; `prepare` sees the runner before it starts.

    Checkpoints are written whole or not at all, and a training that is resumed is the same as one that was never broken off
    (`ReseedHook`, `ResumeHook`).

    Raises:
        FileNotFoundError: If the config's `load_from` is not there.
        OSError: If the work directory cannot be written; it names a file or that folder.
    """
    cfg = with_resume_hooks(cfg)
    if cfg.get('load_from'):
        cfg.load_from = check_checkpoint(cfg.load_from)
    with naming(cfg.work_dir), whole_checkpoints():
        runner = Runner.from_cfg(cfg)
        if prepare:
            prepare(runner)
        runner.train()
    return runner


def test(cfg: Config, checkpoint: str, prepare: RunnerAction | None = None) -> dict[str, float]:
    """Test a checkpoint by config and return the metrics.

    Raises:
        FileNotFoundError: If the checkpoint is not there.
    """
    checkpoint = check_checkpoint(checkpoint)
    cfg = without_training(cfg)
    cfg.load_from, cfg.resume = checkpoint, False
    with naming(cfg.work_dir):
        runner = Runner.from_cfg(cfg)
        if prepare:
            prepare(runner)
        return {key: float(value) for key, value in runner.test().items() if is_number(value)}


def score(
    cfg: Config,
    checkpoint: str | None,
    split: str | None = None,
    out_file: str | Path | None = None,
    prepare: RunnerAction | None = None,
    on_batch: Callable[[int, int], None] | None = None,
    **overrides: Any,
) -> PruningIndex:
    """Score every block on one split with the test transform, and write the index.

    Adapters that can be are merged first, as the method's author does it: that moves features by less than 1e-5, and t-SNE by what such a
    change moves it. `SLSHook` scores the model as it trains, unmerged.

    Args:
        cfg: A config with an mmsls backbone; settings come from its `SLSHook`, if it has one.
        checkpoint: Weights to score; None: the model as it is built.
        split: `'train'`, `'val'` or `'test'`; by default that of the task (see `default_split`).
        out_file: Where the index goes; by default `pruning_index.json` in the work directory.
        prepare: Sees the runner before it starts.
        on_batch: Called with (batches done, batches in all).
        overrides: Settings of `BlockScorer` that override the hook's; None leaves one as it is.

    Returns:
        The index.

    Raises:
        ValueError: If the split, the backbone or the features don't allow it.
        FileNotFoundError: If the checkpoint is not there.
    """
    checkpoint = check_checkpoint(checkpoint)
    split = split or default_split(cfg)
    dataloader_cfg = split_dataloader(cfg, split)
    options = scorer_options(sls_settings(cfg), cfg.get('default_scope'), overrides)
    bare = without_training(cfg)
    bare.load_from, bare.resume, bare.custom_hooks = checkpoint, False, []
    # A runner with nothing but the model: no loop of the host would run without an evaluator.
    bare.test_dataloader = bare.test_cfg = bare.test_evaluator = None
    runner = Runner.from_cfg(bare)
    if prepare:
        prepare(runner)
    runner.load_or_resume()
    scorer = BlockScorer(unwrapped(runner), **options)
    merge_adapters(scorer.backbone)
    loader = Runner.build_dataloader(dataloader_cfg, seed=runner.seed)
    scorer.check_data(loader.dataset)
    walk(unwrapped(runner), loader, scorer, on_batch)
    scores, index = scorer.finish(split, reported_split_warning(cfg, dataloader_cfg['dataset']))
    log_scores(scores, index)
    if index is None:
        raise ValueError(
            f'kept_depths {scorer.backbone.kept_depths}: score the full-depth model, its index decides what to prune'
        )
    if is_main_process():
        index.save(out_file or Path(runner.work_dir) / 'pruning_index.json')
    return index


def merge_adapters(backbone: PrunedBackbone) -> None:
    """Fold every adapter that has an exact merge into the base's layers, in place; the others stay as they are."""
    if backbone.adapter_cfg is None or not adapter_class(backbone.adapter_cfg).mergeable:
        return
    try:
        merge_blocks(backbone.iter_blocks())  # methods that only choose parameters of the base adapt no block
    except ValueError as error:  # nothing is changed then, and the model computes the same
        print_log(f'SLS: scoring with unmerged adapters: {error}', 'current')


def default_split(cfg: Config) -> str:
    """Return the split to score, as the sampler declares it: the training images for classification, as the method's author does it, else `val`."""
    sampler = scorer_options(sls_settings(cfg), cfg.get('default_scope'))['sampler']
    return getattr(sampler_class(sampler), 'default_split', 'val')


def split_dataloader(cfg: Config, split: str) -> ConfigDict:
    """Return a data-loader config that walks a split in order with the test transform and ground truth.

    Raises:
        ValueError: If the split is unknown or not configured.
    """
    if split not in SPLITS:
        raise ValueError(f'split must be one of {SPLITS}, got {split!r}')
    wanted, like = cfg.get(f'{split}_dataloader'), cfg.get('val_dataloader') or cfg.get('test_dataloader')
    if wanted is None or like is None:
        raise ValueError(
            f'split {split!r}: the config has no {split}_dataloader'
            if wanted is None
            else 'the config has no val_dataloader'
        )
    loader = deepcopy(like)
    dataset = deepcopy(unwrap_cfg(wanted['dataset']))
    for part in parts_of(dataset):
        part.update(pipeline=deepcopy(parts_of(like['dataset'])[0]['pipeline']), test_mode=True)
    loader['dataset'] = dataset
    return loader


def sls_settings(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the config's `SLSHook`, empty without one."""
    for hook in cfg.get('custom_hooks') or []:
        if isinstance(hook, SLSHook):
            return {**hook.options, 'interval': hook.interval, 'out_file': hook.out_file}
        if is_hook(hook, 'SLSHook'):
            return {key: value for key, value in hook.items() if key not in ('type', 'priority')}
    return {}


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


def build_model(cfg: Config, checkpoint: str | None = None) -> nn.Module:
    """Build a config's model in eval mode, with a checkpoint's weights where one is given."""
    from mmengine.registry import MODELS
    from mmengine.runner import load_checkpoint

    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = MODELS.build(deepcopy(cfg.model))  # mmdet 3.3 writes train_cfg and test_cfg into the head's config
    if checkpoint is not None:
        load_checkpoint(model, expand_home(checkpoint), map_location='cpu')
    return model.eval()


def export_base(cfg: Config, path: str | Path) -> None:
    """Write the frozen base of a config's backbone in the host's key style, for controls that train it through the host's own `init_cfg`.

    Args:
        cfg: A config whose backbone has a base; its adapters are left out.
        path: Where the file goes; `init_cfg=dict(type='Pretrained', checkpoint=path)` reads it.

    Raises:
        ValueError: If the backbone has no base or is pruned.
    """
    cfg = deepcopy(cfg)
    cfg.model.backbone.pop('adapter', None)
    backbone = find_backbone(build_model(cfg))
    if backbone.base_checkpoint is None or backbone.is_pruned:
        raise ValueError(
            f'model.backbone: base_checkpoint={backbone.base_checkpoint!r}, kept_depths={backbone.kept_depths}; a base is exported from a '
            'config that names one, at full depth'
        )
    state = {key: value for key, value in backbone.state_dict().items() if key != EXTRA_STATE}
    with whole_file(expand_home(str(path))) as partial, partial.open('wb') as file:
        torch.save({'state_dict': state}, file)


def check_checkpoint(location: Any) -> Any:
    """Refuse a local file that is not there, before MMEngine's traceback does; `http://`, `open-mmlab://` and their like are its own matter.

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


def is_number(value: Any) -> bool:
    """Whether a metric is a single number; mmseg's are numpy's float32."""
    return isinstance(value, Real) and not isinstance(value, bool)
