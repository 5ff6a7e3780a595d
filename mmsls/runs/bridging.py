"""Bridges fitted by least squares: from the tokens of a cut model to those that the full model has there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmsls.backbones.arguments import at_full_depth
from mmsls.backbones.bridge_fit import BridgeFit, FittedBridge, share_of
from mmsls.backbones.lookup import find_backbone
from mmsls.backbones.replay import run_up_to
from mmsls.backbones.tensor_files import read_torch
from mmsls.checkpoint.slimming import slim
from mmsls.features.trial import training_images
from mmsls.files.writing import whole_file
from mmsls.parallel.main_process import on_main_process
from mmsls.runs.building import build_model
from mmsls.runs.configs import check_checkpoint, with_bridge
from mmsls.runs.presence import check_presence

TOKENS = 200_000
"""Most tokens that a bridge is fitted on, evenly many of each image."""


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
        cfg: Config of the cut model, with a `pruning_index` or `kept_depths`; `bridge=True` is set
            here where it names no rank.
        checkpoint: The model tuned at full depth.
        out_file: Where the bridged model's checkpoint goes, slim where there is a frozen base.
        images: Most training images that are looked at, drawn evenly at random from all.
        on_batch: Called with (batches done, batches in all).

    Returns:
        What was fitted, bottom first; empty, with a warning, where nothing was removed that an output depends on.

    Raises:
        ValueError: If nothing was removed, there are no training images, or features are not finite.
        FileNotFoundError: If the checkpoint, the data or the base is not there.
    """
    checkpoint = check_checkpoint(checkpoint)
    check_presence(cfg, 'train')
    cut = build_model(with_bridge(cfg), checkpoint)
    backbone = find_backbone(cut)
    if not backbone.is_pruned:
        raise ValueError(
            f'bridge: kept_depths {backbone.kept_depths} of {backbone.depths} removes nothing; name fewer blocks, or a '
            'pruning_index that keeps fewer'
        )
    if not backbone.bridges():
        print_log(f'no output depends on what kept_depths {backbone.kept_depths} removes', 'current', logging.WARNING)
    full = build_model(unpruned_cfg(cfg), checkpoint)
    for model in (full, cut):
        model.to(get_device())
    fitted = fit_bridges(full, cut, training_images(cfg, images), on_batch)
    on_main_process(partial(write_checkpoint, cut.cpu(), checkpoint, Path(out_file)))
    return fitted


def unpruned_cfg(cfg: Config) -> Config:
    """Return a copy of a config whose backbone stands at full depth."""
    cfg = deepcopy(cfg)
    cfg.model.backbone = at_full_depth(cfg.model.backbone)
    return cfg


def write_checkpoint(model: nn.Module, source: str, path: Path) -> None:
    """Write a model's weights as a checkpoint that `load_from` takes, with the class names of another one."""
    read = read_torch(source, stand_ins=True) if Path(source).is_file() else {}
    meta = read.get('meta') or {}
    content = {'meta': {'dataset_meta': meta.get('dataset_meta')}, 'state_dict': dict(model.state_dict())}
    slim(model, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial_file, partial_file.open('wb') as file:
        torch.save(content, file)


@torch.no_grad()
def fit_bridges(
    full: nn.Module, cut: nn.Module, loader: DataLoader, on_batch: Callable[[int, int], None] | None = None
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
    share = share_of(TOKENS, len(loader.dataset))  # type: ignore[arg-type]
    fitted = []
    for number, bridge in enumerate(bridges):
        fit = BridgeFit(bridge, share)
        for done, batch in enumerate(loader, 1):
            wanted = tokens_at(full, targets[bridge.target], batch, after=True)
            given = tokens_at(cut, bridge, batch, after=False)
            for x, y in zip(given, wanted, strict=True):
                fit.add(x, y)
            if on_batch:
                on_batch(number * len(loader) + done, len(bridges) * len(loader))
        fitted.append(fit.solve())
        print_log(str(fitted[-1]), 'current')
    return fitted


def tokens_at(model: nn.Module, module: nn.Module, batch: Any, after: bool) -> list[Tensor]:
    """Return the tokens (B, K + L, C) before or after a module in every pass of the backbone over a batch."""
    found: list[Tensor] = []
    handle = (
        module.register_forward_hook(lambda _, __, output: found.append(output))
        if after
        else module.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    )
    try:
        run_up_to(model, module, batch)
    finally:
        handle.remove()
    return found
