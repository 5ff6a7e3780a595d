"""Single runs by config: train, test, score. One place for what every tool and the chain do with a config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmsls.backbones import PrunedBackbone
from mmsls.features.also import OtherCurve, failures, log_others
from mmsls.features.maps import Maps
from mmsls.features.score_log import log_scores
from mmsls.features.scorer import BlockScorer
from mmsls.features.splits import reported_split_warning, split_dataloader
from mmsls.features.supplies import supplies
from mmsls.features.trial import is_number
from mmsls.files.trouble import naming
from mmsls.hooks.scored import show_curve, show_others
from mmsls.hooks.slim_checkpoint_hook import unwrapped
from mmsls.parallel.main_process import on_main_process
from mmsls.pruning_index import PruningIndex
from mmsls.pruning_index.keeping import INDEX_FILE
from mmsls.report.leaving import leave_report
from mmsls.report.origin import Origin
from mmsls.report.others import leave_others
from mmsls.runs.building import merge_adapters
from mmsls.runs.configs import (
    check_checkpoint,
    check_untuned,
    default_split,
    needs_among,
    scoring_options,
    without_training,
)
from mmsls.runs.launching import for_runner, start_processes
from mmsls.runs.more_curves import more_curves
from mmsls.runs.presence import check_presence
from mmsls.runs.resuming import whole_checkpoints, with_resume_hooks

RunnerAction = Callable[[Runner], None]
UNTUNED = 'untuned'
"""What an index's provenance names in the place of a checkpoint where there was none."""


def train(cfg: Config, prepare: RunnerAction | None = None) -> Runner:
    """Train by config and return the finished runner; `prepare` sees the runner before it starts.

    Checkpoints are written whole or not at all, and a training that is resumed is the same as one that was never broken
    off (`ReseedHook`, `ResumeHook`).

    Raises:
        FileNotFoundError: If the config's data, its base or its `load_from` is not there.
        ValueError: If the config shards its model (see `for_runner`).
        OSError: If the work directory cannot be written; it names a file or that folder.
    """
    check_presence(cfg, 'train', 'val')
    cfg = with_resume_hooks(for_runner(cfg))
    if cfg.get('load_from'):
        cfg.load_from = check_checkpoint(cfg.load_from)
    start_processes(cfg)
    with naming(cfg.work_dir), whole_checkpoints():
        runner = Runner.from_cfg(cfg)
        if prepare:
            prepare(runner)
        runner.train()
    return runner


def test(cfg: Config, checkpoint: str, prepare: RunnerAction | None = None) -> dict[str, float]:
    """Test a checkpoint by config and return the metrics.

    Raises:
        FileNotFoundError: If the data, the base or the checkpoint is not there.
    """
    check_presence(cfg, 'test')
    checkpoint = check_checkpoint(checkpoint)
    cfg = without_training(for_runner(cfg))
    cfg.load_from, cfg.resume = checkpoint, False
    start_processes(cfg)
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

    Adapters that can be are merged first, as the method's author does it: that moves features by less than 1e-5, and
    t-SNE by what such a change moves it. `SLSHook` scores the model as it trains, unmerged.

    Args:
        cfg: A config with an mmsls backbone; settings come from its `SLSHook`, if it has one.
        checkpoint: Weights to score, whose file name the index keeps (`provenance.checkpoint`); None: the model as it
            is built, the untuned base.
        split: `'train'`, `'val'` or `'test'`; by default that of the task (see `default_split`).
        out_file: Where the index goes; by default `pruning_index.json` in the work directory; its report goes beside.
        prepare: Sees the runner before it starts.
        on_batch: Called with (batches done, batches in all).
        overrides: Settings of `BlockScorer` that override the hook's (`also=()` for no other criteria); None leaves one
            as it is. Other criteria beside one that tries the model take one more pass.

    Returns:
        The index.

    Raises:
        ValueError: If the split, the backbone or the features don't allow it, or the criterion needs a tuned model.
        FileNotFoundError: If the data, the base or the checkpoint is not there.
    """
    checkpoint = check_checkpoint(checkpoint)
    split = split or default_split(cfg, overrides)
    check_presence(cfg, split)
    dataloader_cfg = split_dataloader(cfg, split)
    options = scoring_options(cfg, overrides)
    if checkpoint is None:
        check_untuned(options)
    needs = needs_among(options)
    supplied = supplies(needs, cfg, split, on_batch, options.get('seed', 0))
    if needs == 'loss' and split != 'train':
        raise ValueError(f'split {split!r}: {options["criterion"]} looks at the loss on training images; leave it out')
    runner = bare_runner(cfg, checkpoint, prepare)
    scorer = BlockScorer(unwrapped(runner), **options)
    if checkpoint is None:
        print_log(f'SLS: no checkpoint, so {told_base(scorer.backbone)} is scored', 'current')
    if scorer.collects:
        merge_adapters(scorer.backbone)
    loader = Runner.build_dataloader(dataloader_cfg, seed=runner.seed)
    scorer.check_data(loader.dataset)
    scorer.collect(loader, on_batch)
    scores, index = scorer.finish(split, reported_split_warning(cfg, dataloader_cfg['dataset']), **supplied)
    log_scores(scores, index, scorer.criterion.unit)
    show_curve(runner.visualizer, scores)
    if index is None:
        raise ValueError(
            f'kept_depths {scorer.backbone.kept_depths}: score the full-depth model, its index decides what to prune'
        )
    source = UNTUNED if checkpoint is None else Path(checkpoint).name
    index = replace(index, provenance={**index.provenance, 'checkpoint': source})
    others = scorer.others
    if options['also'] and not scorer.collects:
        others = more_curves(scorer.model, options, loader, split, on_batch)
    log_others(others)
    show_others(runner.visualizer, others)
    path = Path(out_file or Path(runner.work_dir) / INDEX_FILE).expanduser()
    on_main_process(
        partial(leave_index, index, path, scorer.maps, others, Origin.of(cfg, checkpoint, failures(others)))
    )
    return index


def bare_runner(cfg: Config, checkpoint: str | None, prepare: RunnerAction | None = None) -> Runner:
    """Return a runner with nothing but the model and its weights: no loop of the host would run without an evaluator.

    Args:
        cfg: The config.
        checkpoint: The weights; None: the model as it is built.
        prepare: Sees the runner before the weights are loaded.
    """
    bare = without_training(for_runner(cfg))
    bare.load_from, bare.resume, bare.custom_hooks = checkpoint, False, []
    bare.test_dataloader = bare.test_cfg = bare.test_evaluator = None
    start_processes(bare)
    runner = Runner.from_cfg(bare)
    if prepare:
        prepare(runner)
    runner.load_or_resume()
    return runner


def leave_index(
    index: PruningIndex, path: Path, maps: Maps | None, others: Sequence[OtherCurve], origin: Origin
) -> None:
    """Write an index, those of other criteria, and the report."""
    index.save(path)
    leave_others(path, index, others)
    leave_report(path, maps, origin)


def told_base(backbone: PrunedBackbone) -> str:
    """Say what an untuned model's features come from."""
    base = backbone.base_checkpoint
    return f'the untuned base {base!r}' if base else 'the model as it is built, on no base,'
