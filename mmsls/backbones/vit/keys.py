"""Key styles of plain ViT bases: timm and DeiT, Google's `.npz`, mmpretrain and mmseg."""

from __future__ import annotations

import math
import re
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from mmsls.backbones.base_files import StateDict

_TIMM_RENAMES = (
    (r'^blocks\.', 'layers.'),
    (r'\.norm([12])\.', r'.ln\1.'),
    (r'\.mlp\.fc1\.', '.ffn.layers.0.0.'),
    (r'\.mlp\.fc2\.', '.ffn.layers.1.'),
    (r'\.ls1\.gamma$', '.attn.gamma1.weight'),
    (r'\.ls2\.gamma$', '.ffn.gamma2.weight'),
    (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
    (r'^norm_pre\.', 'pre_norm.'),
    (r'^norm\.', 'ln1.'),
    (r'^fc_norm\.', 'ln2.'),
)
_GOOGLE_RENAMES = (
    (r'^embedding/', 'patch_embed.projection.'),
    (r'^cls$', 'cls_token'),
    (r'^Transformer/posembed_input/pos_embedding$', 'pos_embed'),
    (r'^Transformer/encoder_norm/', 'ln1.'),
    (r'^Transformer/encoderblock_(\d+)/', r'layers.\1.'),
    (r'\.LayerNorm_0/', '.ln1.'),
    (r'\.LayerNorm_2/', '.ln2.'),
    (r'\.MlpBlock_3/Dense_0/', '.ffn.layers.0.0.'),
    (r'\.MlpBlock_3/Dense_1/', '.ffn.layers.1.'),
    (r'\.MultiHeadDotProductAttention_1/out/', '.attn.proj.'),
    (r'\.MultiHeadDotProductAttention_1/', '.attn.'),
    (r'/', '.'),
    (r'\.(kernel|scale)$', '.weight'),
)
_MMSEG_RENAMES = (
    (r'\.attn\.attn\.in_proj_', '.attn.qkv.'),
    (r'\.attn\.attn\.out_proj\.', '.attn.proj.'),
    (r'^ln_pre\.', 'pre_norm.'),
)
_TO_MMSEG = (
    (r'(?<=\d\.attn\.)qkv\.', 'attn.in_proj_'),
    (r'(?<=\d\.attn\.)proj\.', 'attn.out_proj.'),
    (r'^pre_norm\.', 'ln_pre.'),
)


def vit_keys(state: StateDict, own: Collection[str]) -> StateDict:
    """Translate a ViT base to the key style of a host's model.

    Args:
        state: The base's tensors, in any of the four styles.
        own: The model's keys; they tell mmseg's style (`in_proj_weight`) from mmpretrain's (`qkv.weight`).

    Raises:
        ValueError: If the base is a distilled DeiT.
    """
    if 'dist_token' in state:
        raise ValueError(
            'base_checkpoint: this is a distilled DeiT (dist_token), and VisionTransformer has no distillation token: '
            'take the DeiT that was trained without distillation'
        )
    if any('/' in key for key in state):
        state = google_tensors(state)
    elif any(key.startswith('blocks.') for key in state):
        state = renamed(state, _TIMM_RENAMES)
    else:
        state = renamed(state, _MMSEG_RENAMES)
    return renamed(state, _TO_MMSEG) if any(key.endswith('.in_proj_weight') for key in own) else state


def renamed(state: StateDict, rules: Collection[tuple[str, str]]) -> StateDict:
    """Apply (pattern, replacement) rules to every key, in order."""
    out = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        out[name] = value
    return out


def google_tensors(state: StateDict) -> StateDict:
    """Translate Google's names and axes; query, key and value, each (C, heads, C / heads), become one matrix."""
    out = {name: torch_axes(name, value) for name, value in renamed(state, _GOOGLE_RENAMES).items()}
    for first in [name for name in out if '.attn.query.' in name]:
        names = [first.replace('.query.', f'.{part}.') for part in ('query', 'key', 'value')]
        if all(name in out for name in names):
            out[first.replace('.query.', '.qkv.')] = torch.cat([out.pop(name) for name in names])
    return out


def torch_axes(name: str, value: Tensor) -> Tensor:
    """Turn a Flax kernel, whose input axes come before its output axes, round; names are the hosts'."""
    if name.endswith(('.query.weight', '.key.weight', '.value.weight')):
        return value.flatten(1).t()
    if name.endswith(('.query.bias', '.key.bias', '.value.bias')):
        return value.flatten()
    if name.endswith('.attn.proj.weight'):
        return value.flatten(0, 1).t()
    if name.endswith('projection.weight'):
        return value.permute(3, 2, 0, 1)
    return value.t() if value.dim() == 2 else value


def fit_position(value: Tensor, extra: int, grid: tuple[int, int], mode: str) -> Tensor:
    """Resize a position embedding to another grid of patches; the class token's entry stays as it is.

    Args:
        value: The base's, (1, K + h * w, C), K = 0 or 1; where its length is not the model's, h = w.
        extra: Entries of extra tokens (class token) in the model, 0 or 1.
        grid: The model's patches (H, W) at its training resolution.
        mode: Interpolation, as the host's `interpolate_mode`.

    Returns:
        (1, extra + H * W, C); `value` itself where that is its shape or where it fits no square.
    """
    if value.dim() != 3 or value.shape[1] == extra + grid[0] * grid[1]:
        return value
    square = [count for count in (1, 0) if math.isqrt(value.shape[1] - count) ** 2 == value.shape[1] - count]
    if not square or square[0] < extra:
        return value
    first, side = square[0], math.isqrt(value.shape[1] - square[0])
    patches = value[:, first:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    corners = {} if mode == 'nearest' else {'align_corners': False}
    resized = F.interpolate(patches, size=grid, mode=mode, **corners).flatten(2).transpose(1, 2)
    return torch.cat([value[:, :extra], resized.to(value.dtype)], dim=1)
