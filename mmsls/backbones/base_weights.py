"""Checking the frozen base, does every key fit, and Swin's key styles."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from mmsls.backbones.base_files import StateDict

SHOWN = 5
"""How many keys an error names."""
POSITION_TABLE = 'relative_position_bias_table'


def load_base(
    module: nn.Module,
    state: StateDict,
    location: str,
    optional: Callable[[str], object],
    hints: Mapping[str, str] | None = None,
) -> None:
    """Load a base into a module, and refuse it if any key does not fit.

    Args:
        module: The (already truncated) backbone.
        state: Its tensors in the module's key style.
        location: Where they came from, for the error.
        optional: Which keys of the module may be missing.
        hints: Pattern found in a problem, such as `left over x`, to what the user can set; the first that fits ends the
            error.

    Raises:
        ValueError: If a key is missing, left over or misshapen; the first ones are named, with both shapes. Nothing is
            loaded then.
    """
    own = module.state_dict()
    state = {
        key: fit(value, own[key]) if key in own and key.endswith(POSITION_TABLE) else value
        for key, value in state.items()
    }
    problems = [f'missing {key} {tuple(own[key].shape)}' for key in own if key not in state and not optional(key)]
    problems += [f'left over {key} {tuple(state[key].shape)}' for key in state if key not in own]
    problems += [
        f'misshapen {key}: {tuple(value.shape)} in the file, {tuple(own[key].shape)} in the model'
        for key, value in state.items()
        if key in own and value.shape != own[key].shape
    ]
    if problems:
        more = f' and {len(problems) - SHOWN} more' if len(problems) > SHOWN else ''
        advice = [text for pattern, text in (hints or {}).items() if any(re.match(pattern, p) for p in problems)]
        raise ValueError(
            f'base_checkpoint: {location!r} does not fit this backbone: {"; ".join(problems[:SHOWN])}{more}'
            + ''.join(f'. Try: {text}' for text in advice[:1])
        )
    nn.Module.load_state_dict(module, {**own, **{k: v for k, v in state.items() if k in own}})


def fit(value: Tensor, own: Tensor) -> Tensor:
    """Resize a position-bias table, ((2 s - 1)^2, heads), to the model's window size.

    One that can't be resized is returned as it is.
    """
    square = value.dim() == own.dim() == 2 and value.shape[1] == own.shape[1] and value.shape[0] != own.shape[0]
    sides = [round(tensor.shape[0] ** 0.5) for tensor in (value, own)] if square else []
    if not square or any(side**2 != tensor.shape[0] for side, tensor in zip(sides, (value, own), strict=True)):
        return value
    heads = value.shape[1]
    table = value.float().t().reshape(1, heads, sides[0], sides[0])
    resized = F.interpolate(table, size=(sides[1], sides[1]), mode='bicubic', align_corners=False)
    return resized.reshape(heads, -1).t().to(value.dtype).contiguous()


SWIN_RENAMES = (
    (r'^layers\.', 'stages.'),
    (r'\.attn\.(?!w_msa\.)', '.attn.w_msa.'),
    (r'\.mlp\.fc1\.', '.ffn.layers.0.0.'),
    (r'\.mlp\.fc2\.', '.ffn.layers.1.'),
    (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
)


def swin_keys(state: StateDict) -> StateDict:
    """Translate a Swin base to the hosts' key style.

    OpenMMLab keys stay. Microsoft's and timm's are renamed; timm (0.9 and later) numbers a patch merging by the stage
    that follows it, Microsoft by the stage before. Both stack the four neighbours of a patch merging as (0,0), (1,0),
    (0,1), (1,1) per channel block, the hosts' `nn.Unfold` channel by channel, row by row.
    """
    if not any(key.startswith('layers.') for key in state):
        return dict(state)
    merges = {int(m[1]) for m in (re.match(r'layers\.(\d+)\.downsample\.', key) for key in state) if m}
    shift = 1 if merges and 0 not in merges else 0
    out = {}
    for key, value in state.items():
        name = re.sub(r'^layers\.(\d+)\.downsample\.', lambda m: f'layers.{int(m[1]) - shift}.downsample.', key)
        if '.downsample.' in name:
            value = unfold_order(value)
        for pattern, replacement in SWIN_RENAMES:
            name = re.sub(pattern, replacement, name)
        out[name] = value
    return out


def unfold_order(value: Tensor) -> Tensor:
    """Reorder a patch-merging tensor's last axis, 4 neighbours x C channels, to `nn.Unfold`'s C x 4."""
    channels = value.shape[-1] // 4
    neighbours = value.reshape(*value.shape[:-1], 4, channels)[..., [0, 2, 1, 3], :]
    return neighbours.transpose(-1, -2).reshape(value.shape).contiguous()
