"""What is done with the scores of a validation: logged, shown beside its metrics, written."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import MessageHub, print_log
from mmengine.visualization import Visualizer

from mmsls.features.also import OtherCurve, failures, log_others
from mmsls.features.score_log import log_scores
from mmsls.features.scorer import BlockScorer
from mmsls.features.splits import reported_split_warning
from mmsls.features.supplies import supplies
from mmsls.files.given import given
from mmsls.hooks.unscored import ScoreCommand
from mmsls.pruning_index.keeping import write_index
from mmsls.report.leaving import leave_report, log_closing
from mmsls.report.origin import Origin
from mmsls.report.others import leave_others
from mmsls.scoring import BlockId


def score_split(runner: Any, split: str, scorer: BlockScorer, path: Path) -> None:
    """Score what was collected, log it, and write the index and its report. Call it on every rank.

    Args:
        runner: The run.
        split: The split that was collected, `'val'` or `'test'`.
        scorer: The scorer that collected it.
        path: The index file.

    Raises:
        Exception: In every process alike if the features cannot be scored; in the main process an OSError if the index
            cannot be written.
    """
    warning = reported_split_warning(runner.cfg, (runner.cfg.get(f'{split}_dataloader') or {}).get('dataset'))
    if warning:
        print_log(f'SLS: {warning}', 'current', logging.WARNING)
    if not scorer.collects and scorer.backbone.is_pruned:
        print_log('SLS: this backbone is pruned already, and its criterion rates whole ones alone', 'current')
        return
    scores, index = scorer.finish(split, warning, **supplies(scorer.needs, runner.cfg, split, seed=scorer.seed))
    log_scores(scores, index, scorer.criterion.unit)
    for (stage, block), value in scores.items():
        # Scores of one validation are no history to resume.
        runner.message_hub.update_scalar(f'{split}/sls/stage{stage}_block{block}', value, resumed=False)
    show_curve(runner.visualizer, scores)
    log_others(scorer.others)
    show_others(runner.visualizer, scorer.others)
    if index is None:
        print_log('SLS: this backbone is pruned already, so its scores are logged and no index is written', 'current')
    elif is_main_process() and write_index(index, path, split):
        leave_others(path, index, scorer.others)
        log_closing(index, path, leave_report(path, scorer.maps, origin_of(runner, split, path, scorer.others)))


def origin_of(runner: Any, split: str, path: Path, others: Sequence[OtherCurve]) -> Origin:
    """Return where the scores of a run come from: its config as it was named, and the weights that were saved last."""
    command = ScoreCommand(runner, split, path.name)
    cfg = runner.cfg if given(runner.cfg) else Config({}, filename=str(command.config))
    return Origin.of(cfg, command.checkpoint(), failures(others))


def show_curve(visualizer: Visualizer, scores: Mapping[BlockId, float], name: str = 'sls_curve') -> None:
    """Hand every stage's curve to the backends of MMEngine's visualizer (files, TensorBoard, WandB), block by block.

    Args:
        visualizer: The run's.
        scores: The score of every block; the step of a block is its number within its stage, from 1.
        name: What the curve is called.
    """
    for (stage, block), value in scores.items():
        visualizer.add_scalar(f'{name}/stage{stage}', value, step=block + 1)


def show_others(visualizer: Visualizer, others: Sequence[OtherCurve]) -> None:
    """Hand the curves of other criteria to the same backends, as `sls_curve_ncm/stage0`."""
    for other in others:
        if other.index is not None:
            show_curve(visualizer, other.index.scores, f'sls_curve_{other.name.lower()}')


def drop_scores(message_hub: MessageHub, split: str) -> None:
    """Take the scores of one validation out of what is logged.

    MMEngine would show them again with the next one's metrics.
    """
    for held in (message_hub._log_scalars, message_hub._resumed_keys):
        for key in [key for key in held if key.startswith(f'{split}/sls/')]:
            held.pop(key)
