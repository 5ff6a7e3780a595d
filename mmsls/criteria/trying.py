"""A model tried out: bridges fitted between its blocks, and what it is worth with others in the place of some."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeVar

from mmengine.logging import print_log

from mmsls.backbones.bridge import LinearBridge
from mmsls.backbones.bridge_fit import BridgeFit, share_of
from mmsls.backbones.lookup import find_backbone
from mmsls.backbones.replay import Pass, Substitute, recording, run_up_to, substituted
from mmsls.criteria.base import Trial
from mmsls.scoring import BlockId

T = TypeVar('T')
Bridges = dict[tuple[BlockId, BlockId], LinearBridge]
"""Bridges from the last kept block to a removed one that something reads."""


def fitted_bridges(
    model: Any,
    trial: Trial,
    wanted: Sequence[tuple[BlockId, BlockId]],
    images: int = 1000,
    tokens: int = 200_000,
    memory: int = 2**30,
) -> Bridges:
    """Fit bridges between blocks of a whole model, in as few passes over training images as the memory allows.

    Args:
        model: The model.
        trial: Gives the images.
        wanted: Pairs of blocks of one stage: whose tokens a bridge takes, and for whose it stands.
        images: As for `Bridged`.
        tokens: As for `Bridged`.
        memory: As for `Bridged`.

    Returns:
        The bridges, by pair.
    """
    backbone, loader = find_backbone(model), trial.training(images)
    share = share_of(tokens, len(loader.dataset))
    device = next(model.parameters()).device
    fits = {ends: BridgeFit(backbone.bridge_to(ends[1]).to(device), share) for ends in wanted}
    blocks, groups = dict(backbone.iter_blocks()), list(in_groups(fits, memory))
    for number, group in enumerate(groups):
        last = blocks[max(target for _, target in group)]
        with recording(backbone.iter_blocks) as passes:
            for done, batch in enumerate(loader, 1):
                run_up_to(model, last, batch)
                for found in passes:
                    for (block, target), fit in group.items():
                        fit.add(found[block], found[target])
                passes.clear()
                if trial.on_batch:
                    trial.on_batch(number * len(loader) + done, len(groups) * len(loader))
        for fit in group.values():
            fit.solve()
            fit.sums.clear()
    return {ends: fit.bridge for ends, fit in fits.items()}


def judged(
    model: Any,
    trial: Trial,
    cuts: Sequence[T],
    stand_in: Callable[[T, Sequence[Pass]], Substitute | None],
    replay: bool = True,
) -> tuple[str, list[float]]:
    """Judge a model cut in several ways, in one pass over the images that judge.

    Args:
        model: The whole model.
        trial: Gives the images and the judge.
        cuts: The ways, at least one.
        stand_in: Given a way and what every block of the whole model gave, what stands in for each block; None for the
            whole model.
        replay: Run the whole model first, so that the ways can take what its blocks gave.

    Returns:
        The metric, and its value in points for each way.
    """
    backbone, loader = find_backbone(model), trial.validation()
    judges = [trial.judge(loader) for _ in cuts]
    for done, batch in enumerate(loader, 1):
        whole, passes = recorded(model, batch) if replay else (None, [])
        for cut, judge in zip(cuts, judges, strict=True):
            substitute = stand_in(cut, passes)
            if substitute is not None:
                with substituted(backbone.iter_blocks, substitute):
                    outputs = model.test_step(deepcopy(batch))
            else:
                outputs = whole if replay else model.test_step(deepcopy(batch))
            judge.process(outputs, batch)
        if trial.on_batch:
            trial.on_batch(done, len(loader))
    points = [judge.points() for judge in judges]
    print_log(f'Bridged: judged by {points[0][0]} in points, on {len(loader.dataset)} images', 'current')
    return points[0][0], [value for _, value in points]


def recorded(model: Any, batch: Any) -> tuple[Any, Sequence[Pass]]:
    """Return what a model makes of a batch, and what every block of its backbone gave."""
    with recording(find_backbone(model).iter_blocks) as passes:
        return model.test_step(deepcopy(batch)), passes


def in_groups(
    fits: Mapping[tuple[BlockId, BlockId], BridgeFit], memory: int
) -> Iterator[dict[tuple[BlockId, BlockId], BridgeFit]]:
    """Split fits so that the sums of each group take no more than so many bytes, or the group is a single fit."""
    group: dict[tuple[BlockId, BlockId], BridgeFit] = {}
    for ends, fit in fits.items():
        if group and sum(one.bytes for one in group.values()) + fit.bytes > memory:
            yield group
            group = {}
        group[ends] = fit
    if group:
        yield group
