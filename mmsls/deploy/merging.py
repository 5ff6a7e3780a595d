"""The way out: adapters folded into the base, an ordinary checkpoint, a config with as little of mmsls as possible."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor

from mmsls import runs
from mmsls.adapters import adapter_class
from mmsls.backbones import PrunedBackbone
from mmsls.backbones.merging import merge_blocks
from mmsls.checkpoint import MERGED_KEY, name_changed, read_slim, sole_backbone
from mmsls.deploy.exported_config import exported_config
from mmsls.deploy.standing_alone import names_of_mmsls, why_not_alone
from mmsls.deploy.task_models import load_whole, with_imports
from mmsls.files.writing import whole_folder
from mmsls.pruning_index.foundation import NAMED, Foundation


@dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
        config: Config file.
        checkpoint: Full checkpoint.
        stock: Whether they need no mmsls.
        reason: Why they do need it, or an empty string.
    """

    config: Path
    checkpoint: Path
    stock: bool
    reason: str


def export(cfg: Config, checkpoint: str | Path, out: str | Path) -> Exported:
    """Write a slim checkpoint as a full one, with a config to match; without mmsls where the adapter merges.

    Whether they need no mmsls is tried, in a process that cannot import it. Where that fails, the config stays one that
    needs mmsls, and the reason is returned and logged.

    Args:
        cfg: Config that the checkpoint was trained (or retrained) with.
        checkpoint: A checkpoint that `SlimCheckpointHook` slimmed.
        out: Folder for `config.py` and `model.pth`; must not exist. It is there whole or not at all.

    Returns:
        Where they are, and whether they need mmsls.

    Raises:
        ValueError: If the folder exists, the checkpoint was merged before, is not slim, does not fit the config, or
            holds NaN.
    """
    out, checkpoint = Path(out).expanduser(), Path(checkpoint).expanduser()
    if out.exists():
        raise ValueError(f'out: {str(out)!r} exists; name a new folder')
    content = read_slim(checkpoint)
    model = runs.build_model(with_imports(cfg))
    load_whole(model, content['state_dict'], str(checkpoint))
    name, backbone = sole_backbone(model, str(checkpoint))
    foundation = backbone.foundation(name)
    unmerged = why_not_merged(backbone)
    if not unmerged:
        merge_backbone(backbone)
    state = dict(model.state_dict())
    name_changed(model, [(state, '')])
    check_finite(state, str(checkpoint))
    meta = {'dataset_meta': content['meta'].get('dataset_meta'), MERGED_KEY: foundation.as_dict(NAMED)}
    reason = unmerged or why_not_stock(backbone, cfg)
    with whole_folder(out) as partial:
        torch.save({'meta': meta, 'state_dict': state}, partial / 'model.pth')
        reason = reason or try_stock(cfg, foundation, backbone, partial)
        if reason:
            write_config(exported_config(cfg, foundation, backbone, stock=False), partial, state)
            print_log(f'export: {out} needs mmsls: {reason}', 'current', logging.WARNING)
    return Exported(out / 'config.py', out / 'model.pth', not reason, reason)


def try_stock(cfg: Config, foundation: Foundation, backbone: PrunedBackbone, folder: Path) -> str:
    """Write the config of the host's own model, try it without mmsls, and say why that fails ('' if it does not)."""
    stock = exported_config(cfg, foundation, backbone, stock=True)
    named = names_of_mmsls(stock.to_dict())
    if named:
        return f'{named[0]} still names mmsls'
    stock.dump(folder / 'config.py')
    return why_not_alone(folder / 'config.py', folder / 'model.pth')


def write_config(cfg: Config, folder: Path, state: Mapping[str, Tensor]) -> None:
    """Write a config after loading the weights into what it builds."""
    cfg.dump(folder / 'config.py')
    load_whole(runs.build_model(Config.fromfile(folder / 'config.py')), state, str(folder))


def check_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights that compute nothing.

    Raises:
        ValueError: That names the first tensors with NaN or infinite values.
    """
    wrong = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if wrong:
        more = f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''
        raise ValueError(
            f'{source}: {", ".join(wrong[:3])}{more} hold NaN or infinite values; take an earlier checkpoint'
        )


def why_not_merged(backbone: PrunedBackbone) -> str:
    """Say why the adapters cannot go into the base; an empty string if they can."""
    if backbone.adapter_cfg is not None and not adapter_class(backbone.adapter_cfg).mergeable:
        return f'{backbone.adapter_cfg["type"]} cannot be merged into the base: it is not linear'
    return ''


def why_not_stock(backbone: PrunedBackbone, cfg: Config) -> str:
    """Say why the host's own backbone cannot give what this one gives; an empty string if it can.

    Pruning may leave one block as several outputs. A head can be told to take one output several times, a neck cannot.
    """
    if backbone.hostless:
        return backbone.hostless
    if backbone.bridge:
        return 'bridges stand in for its removed blocks, and the host has none'
    if moved := shifted_blocks(backbone):
        return (
            f'the host shifts the windows of every other block of a stage, and block {moved[0]} has another place now '
            'that blocks below it are removed'
        )
    blocks = backbone.output_blocks
    if len(set(blocks)) < len(blocks) and (cfg.model.get('neck') or not cfg.model.get('decode_head')):
        return f'out_indices became {blocks} by pruning, and neither the host nor a neck takes a block twice'
    return ''


def shifted_blocks(backbone: PrunedBackbone) -> list[tuple[int, int]]:
    """Return the kept blocks that the host would build as the other kind of its two: Swin's, at even or odd places."""
    numbers = backbone.kept_numbers() if backbone.alternates else []
    places = ((stage, place, number) for stage, kept in enumerate(numbers) for place, number in enumerate(kept))
    return [(stage, number) for stage, place, number in places if (number - place) % 2]


def merge_backbone(backbone: PrunedBackbone) -> None:
    """Fold a backbone's adapters into its base, in place; it is an ordinary backbone at its kept depths then.

    Raises:
        ValueError: If it has no frozen base (any more), its adapter has no exact merge, or a value is not finite;
            nothing is changed then.

    Example:
        >>> merge_backbone(PrunedBackbone())
        Traceback (most recent call last):
        ...
        ValueError: PrunedBackbone has no frozen base: it was merged before, or never had adapters
    """
    if backbone.base_sha256 is None:
        raise ValueError(f'{type(backbone).__name__} has no frozen base: it was merged before, or never had adapters')
    if why_not_merged(backbone):
        raise ValueError(f'adapter.type: {why_not_merged(backbone)}')
    check_finite(
        {name: value for name, value in backbone.named_parameters() if value.requires_grad}, type(backbone).__name__
    )
    merge_blocks(backbone.iter_blocks())
    backbone.base_sha256 = backbone.base_checkpoint = backbone.adapter_cfg = None
