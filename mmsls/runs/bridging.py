"""Bridges fitted by least squares: from the tokens of a cut model to those that the full model has there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from mmsls.backbones.bridge import LinearBridge
from mmsls.backbones.lookup import find_backbone
from mmsls.checkpoint.reading import read_checkpoint
from mmsls.checkpoint.slimming import slim
from mmsls.files.writing import whole_file
from mmsls.parallel.main_process import on_main_process
from mmsls.runs.building import build_model
from mmsls.runs.configs import check_checkpoint, split_dataloader
from mmsls.scoring import BlockId
from mmsls.scoring.bridge import BridgeMap, BridgeSums


@dataclass(frozen=True)
class FittedBridge:
    """How well a bridge stands in for what it replaces.

    Attributes:
        target: `(stage, block)` that it stands for.
        explained: Share of what the removed blocks change in the tokens that it explains, on images it was not fitted
            on; where that is below 0, the bridge stays as it was. NaN where there was one batch of images.
        ridge: Regularisation that was chosen, relative to the mean variance of a channel.
        tokens: How many tokens it was fitted on.
    """

    target: BlockId
    explained: float
    ridge: float
    tokens: int


def bridge(
    cfg: Config,
    checkpoint: str,
    out_file: str | Path,
    images: int = 1000,
    on_batch: Callable[[int, int], None] | None = None,
) -> list[FittedBridge]:
    """Cut a tuned model to the depths of its config, fit its bridges on training images, and write its checkpoint.

    The images pass the test transform; their labels are not used.

    Args:
        cfg: Config of the cut model, with a `pruning_index` or `kept_depths`; `bridge=True` is set here.
        checkpoint: The model tuned at full depth.
        out_file: Where the bridged model's checkpoint goes, slim where there is a frozen base.
        images: Most training images that are looked at, drawn evenly at random from all.
        on_batch: Called with (batches done, batches in all).

    Returns:
        What was fitted, bottom first.

    Raises:
        ValueError: If nothing was removed that something reads, there are no training images, or features are not
            finite.
        FileNotFoundError: If the checkpoint is not there.
    """
    checkpoint = check_checkpoint(checkpoint)
    cut = build_model(bridged_cfg(cfg), checkpoint)
    if not find_backbone(cut).bridges():
        raise ValueError(
            f'bridge: kept_depths {find_backbone(cut).kept_depths} of {find_backbone(cut).depths} removes nothing that '
            'an output depends on; name fewer blocks, or a pruning_index that keeps fewer'
        )
    full = build_model(unpruned_cfg(cfg), checkpoint)
    for model in (full, cut):
        model.to(get_device())
    fitted = fit_bridges(full, cut, training_images(cfg, images), on_batch)
    on_main_process(partial(write_checkpoint, cut.cpu(), checkpoint, Path(out_file)))
    return fitted


def bridged_cfg(cfg: Config) -> Config:
    """Return a copy of a config whose backbone has bridges."""
    cfg = deepcopy(cfg)
    cfg.model.backbone.bridge = True
    return cfg


def unpruned_cfg(cfg: Config) -> Config:
    """Return a copy of a config whose backbone stands at full depth."""
    cfg = deepcopy(cfg)
    for name in ('pruning_index', 'kept_depths', 'bridge'):
        cfg.model.backbone.pop(name, None)
    return cfg


def training_images(cfg: Config, images: int) -> DataLoader:
    """Return a loader of at most so many training images, with the test transform."""
    loader_cfg = split_dataloader(cfg, 'train')
    loader = Runner.build_dataloader(loader_cfg, seed=0)
    if images < 1:
        raise ValueError(f'images is {images}; it must be at least 1')
    if len(loader.dataset) <= images:
        return loader
    drawn = np.random.default_rng(0).choice(len(loader.dataset), images, replace=False)
    loader_cfg['dataset'] = Subset(loader.dataset, sorted(drawn.tolist()))
    return Runner.build_dataloader(loader_cfg, seed=0)


def write_checkpoint(model: nn.Module, source: str, path: Path) -> None:
    """Write a model's weights as a checkpoint that `load_from` takes, with the class names of another one."""
    meta = read_checkpoint(source)['meta'] if Path(source).is_file() else {}
    content = {'meta': {'dataset_meta': meta.get('dataset_meta')}, 'state_dict': dict(model.state_dict())}
    slim(model, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial_file, partial_file.open('wb') as file:
        torch.save(content, file)


class _Enough(Exception):
    """Ends a forward pass whose wanted part is there."""


@torch.no_grad()
def fit_bridges(
    full: nn.Module, cut: nn.Module, loader: Iterable[Any], on_batch: Callable[[int, int], None] | None = None
) -> list[FittedBridge]:
    """Fit the bridges of a cut model in place, bottom first, each on what the bridges below it give.

    No labels are used. One pass over the images per bridge; what is kept of them are sums (`BridgeSums`), added up over
    all processes.

    Args:
        full: The model at full depth, with the weights that the cut one was cut from.
        cut: The model with bridges.
        loader: Batches as `test_step` takes them, the same for each pass; every process walks its share.
        on_batch: Called with (batches done, batches in all).

    Returns:
        What was fitted, bottom first; empty where nothing that is read was removed.

    Raises:
        ValueError: If the models don't belong together, there are no images, or features are not finite.
    """
    ours, theirs = find_backbone(cut), find_backbone(full)
    if theirs.is_pruned or theirs.depths != ours.depths:
        raise ValueError(
            f'bridge: the full model keeps {theirs.kept_depths} of {theirs.depths} blocks, the cut one '
            f'{ours.kept_depths} of {ours.depths}; fit bridges against the same model at full depth'
        )
    targets = dict(theirs.iter_blocks())
    bridges = list(ours.bridges().values())
    fitted = []
    for number, bridge in enumerate(bridges):
        sums: dict[str, BridgeSums] = {name: BridgeSums() for name in bridge.maps()}
        tokens = 0
        for done, batch in enumerate(loader, 1):
            wanted = tokens_at(full, targets[bridge.target], batch, after=True)
            given = tokens_at(cut, bridge, batch, after=False)
            for x, y in zip(given, wanted, strict=True):
                tokens += add_tokens(bridge, sums, x, y)
            if on_batch:
                on_batch(number * len(loader) + done, len(bridges) * len(loader))  # type: ignore[arg-type]
        whole = {name: reduce(add, all_gather_object(part)) for name, part in sums.items()}
        solved = {name: part.solve() for name, part in whole.items()}
        for name, linear in bridge.maps().items():
            if not solved[name].explained < 0:
                take(linear, solved[name])
        fitted.append(
            FittedBridge(
                bridge.target, solved['tokens'].explained, solved['tokens'].ridge, sum(all_gather_object(tokens))
            )
        )
        print_log(describe(fitted[-1]), 'current')
    return fitted


def tokens_at(model: Any, module: nn.Module, batch: Any, after: bool) -> list[Tensor]:
    """Return the tokens (B, K + L, C) before or after a module in every pass of the backbone over a batch.

    Nothing above the module is run, unless the model sees an image in several crops.
    """
    found: list[Tensor] = []
    several = getattr(model, 'test_cfg', None) and model.test_cfg.get('mode') == 'slide'

    def note(tokens: Tensor) -> None:
        found.append(tokens)
        if not several:
            raise _Enough

    handle = (
        module.register_forward_hook(lambda _, __, output: note(output))
        if after
        else module.register_forward_pre_hook(lambda _, inputs: note(inputs[0]))
    )
    try:
        model.test_step(deepcopy(batch))
    except _Enough:
        pass
    finally:
        handle.remove()
    return found


def add_tokens(bridge: LinearBridge, sums: dict[str, BridgeSums], x: Tensor, y: Tensor) -> int:
    """Add what a bridge shall learn of one pass: from tokens x the change to y. Return how many tokens these are."""
    extra, tokens = bridge.split(x)
    change = y - x
    ahead = extra.shape[1]
    parts = {'tokens': (tokens, change[:, ahead:]), 'extra': (extra, change[:, :ahead])}
    for name, part in sums.items():
        part.add(*(values.flatten(0, 1).double().cpu().numpy() for values in parts[name]))
    return tokens.shape[0] * tokens.shape[1]


def take(linear: nn.Linear, fitted: BridgeMap) -> None:
    """Write a fitted map into a layer, in place."""
    weight, bias = fitted.matrix[:-1].T, fitted.matrix[-1]
    linear.weight.copy_(torch.from_numpy(weight.copy()))
    linear.bias.copy_(torch.from_numpy(bias.copy()))


def describe(fitted: FittedBridge) -> str:
    """Say how well a bridge stands in for what it replaces."""
    stage, block = fitted.target
    if fitted.explained < 0:
        return (
            f'bridge to stage {stage}, block {block}: left out, since {fitted.tokens} tokens are too few to fit it: on '
            'images that it was not fitted on it does worse than none'
        )
    return (
        f'bridge to stage {stage}, block {block}: {100 * fitted.explained:.1f} % of what the removed blocks change is '
        f'linear ({fitted.tokens} tokens, ridge {fitted.ridge:g})'
    )
