"""What timm's families share: how one is put together, and which base fits."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from mmsls.backbones.arguments import check_flag, ignore_arguments
from mmsls.backbones.base import PrunedBackbone
from mmsls.backbones.base_files import StateDict
from mmsls.backbones.bridge import BridgeSetting
from mmsls.backbones.timm.creating import created
from mmsls.backbones.timm.shells import without_storage


class TimmFamily(PrunedBackbone):
    """Mixin in front of a `TimmHost`; a family's class says how its outputs are set."""

    # The host's.
    model: Any
    model_name: str
    creation: tuple[Any, ...]

    hostless = 'it is a model of timm, and the host has none of its own'
    not_in_base = re.compile(r'^$')
    never_loaded = re.compile(r'^(head|head_dist|fc_norm|attn_pool|pre_logits)\.|^mask_token$|relative_position_index$')
    base_advice: ClassVar[str] = 'the model_name of the base, with or without registers (_reg4_), and its patch size'
    """What to set where timm's own filter fails on a base."""
    base_hints = {
        r'misshapen model\.(pos_embed|patch_embed)': 'img_size, or the model_name with the patch size of the base',
        r'left over model\.(reg_token|blocks\.\d+\.ls\d)': 'the model_name of the base (with registers: _reg4_)',
        r'missing model\.reg_token': 'a model_name without registers (_reg4_)',
    }

    def __init__(
        self,
        model_name: str,
        *args: Any,
        base_checkpoint: str | os.PathLike[str] | None = None,
        adapter: Mapping[str, Any] | None = None,
        pruning_index: str | os.PathLike[str] | None = None,
        kept_depths: int | Sequence[int] | None = None,
        fused_attention: bool = True,
        bridge: BridgeSetting = False,
        kept_blocks: Sequence[Sequence[int]] | None = None,
        **kwargs: Any,
    ) -> None:
        if base_checkpoint is not None:
            ignore_arguments(kwargs, {'init_cfg': None})
        check_flag('fused_attention', fused_attention)
        super().__init__(model_name, *args, **kwargs)
        self._host_arguments = ((model_name, *args), kwargs)
        self.family = f'timm.{type(self.model).__name__}'
        self.put_together(base_checkpoint, adapter, pruning_index, kept_depths, bridge, kept_blocks)

    def put_together(self, *settings: Any) -> None:
        """Check the outputs and set the backbone up (see `PrunedBackbone.set_up`)."""
        raise NotImplementedError

    def output_norms(self) -> dict[str, nn.Module]:
        """Return nothing: the final norm is the base's."""
        return {}

    def base_keys(self, state: StateDict) -> StateDict:
        """Translate to timm's keys by timm's own filter, positions resized; heads and what is computed are dropped."""
        if not any(key.startswith('model.') for key in state):
            state = self._filtered(state)
            state = {f'model.{key}': value for key, value in state.items() if not self.never_loaded.search(key)}
        own = set(nn.Module.state_dict(self))
        idle = ('model.norm.weight', 'model.norm.bias')
        return {key: value for key, value in state.items() if key in own or key not in idle}

    def full_model(self) -> Any:
        """Return timm's model at full depth, for its shapes: timm's filters ask it for them."""
        with without_storage():
            return created(*self.creation)

    def _filtered(self, state: StateDict) -> StateDict:
        full = self.full_model()
        source = sys.modules[type(full).__module__]
        if not hasattr(source, 'checkpoint_filter_fn'):
            return state
        try:
            return dict(source.checkpoint_filter_fn(state, full))
        except Exception as error:  # timm's filters assume the tensors of the architecture, and fail in many ways
            raise ValueError(
                f'base_checkpoint: its tensors are not those of {self.model_name} '
                f'({type(error).__name__}: {error}). Try: {self.base_advice}'
            ) from error
