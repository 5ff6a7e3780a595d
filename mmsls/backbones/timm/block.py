"""The blocks of timm's Vision Transformers with adapter slots."""

from __future__ import annotations

from typing import Any

from timm.models import beit, eva, swin_transformer, swin_transformer_v2, vision_transformer
from torch import Tensor, nn

from mmsls.backbones.blocks import AdaptedBlock, LinearLayer
from mmsls.backbones.tokens import TokenGrid

PRE_NORM: tuple[type[nn.Module], ...] = (
    *(vision_transformer.Block, eva.EvaBlock, beit.Block),
    swin_transformer.SwinTransformerBlock,
)
"""`x + scale(op(norm(x)))`, twice."""
POST_NORM: tuple[type[nn.Module], ...] = (
    *(vision_transformer.ResPostBlock, eva.EvaBlockPostNorm),
    swin_transformer_v2.SwinTransformerV2Block,
)
"""`x + norm(op(x))`, twice."""
NUMBER = {'attn': 1, 'ffn': 2}


def form_of(block: nn.Module) -> str:
    """Return `'pre'` or `'post'`: whether a block's norms come before or after what they belong to.

    Raises:
        ValueError: If the block is of another class.
    """
    for form, classes in {'pre': PRE_NORM, 'post': POST_NORM}.items():
        if type(block) in classes:
            return form
    known = ', '.join(f'{cls.__module__.rpartition(".")[2]}.{cls.__name__}' for cls in (*PRE_NORM, *POST_NORM))
    raise ValueError(f'model_name: its blocks are {type(block).__name__}; known are those of timm: {known}')


class TimmBranches(AdaptedBlock):
    """A block `norm1, attn, norm2, mlp` of timm, with layer scale as a module or a parameter, or without.

    In a post-norm block the input and parallel places take the residual stream itself, and the output place what the
    norm gives.

    Args:
        block: timm's block.
    """

    # timm's own children.
    attn: Any
    mlp: Any

    def __init__(self, block: Any) -> None:
        super().__init__(block)
        for name, parameter in block._parameters.items():
            self.register_parameter(name, parameter)  # the layer scale of EVA and BEiT
        self.form = form_of(block)

    def attend(self, h: Tensor, hw_shape: tuple[int, int], **given: Any) -> Tensor:
        """Return what attention makes of tokens (B, L, C) over the grid."""
        raise NotImplementedError

    def norm(self, branch: str) -> Any:
        """Return the norm before a branch; one without parameters where it comes behind."""
        return self._part('norm', branch) if self.form == 'pre' else nn.Identity()

    def run(self, branch: str, h: Tensor, hw_shape: tuple[int, int], identity: Tensor, **given: Any) -> Tensor:
        """Return `identity + branch(h)`, norm behind it, layer scale and drop path included."""
        out = self.attend(h, hw_shape, **given) if branch == 'attn' else self.mlp(h)
        if self.form == 'post':
            out = self._part('norm', branch)(out)
        return identity + self._part('drop_path', branch)(self._scaled(out, branch))

    def _scaled(self, out: Tensor, branch: str) -> Tensor:
        layer, gamma = self._part('ls', branch), self._part('gamma_', branch)
        out = out if layer is None else layer(out)
        return out if gamma is None else gamma * out

    def _part(self, name: str, branch: str) -> Any:
        return getattr(self, f'{name}{NUMBER[branch]}', None)

    def layers(self) -> dict[str, LinearLayer]:
        """Return where the block's layers keep their parameters; q, k and v, or a gated FFN's two, may be apart."""
        attn, mlp = self.attn, self.mlp
        found = {'attn_norm': self._part('norm', 'attn'), 'ffn_norm': self._part('norm', 'ffn')}
        if getattr(attn, 'qkv', None) is not None:
            found['attn_qkv'] = attn.qkv
        else:
            found |= {'attn_q': attn.q_proj, 'attn_k': attn.k_proj, 'attn_v': attn.v_proj}
        found['attn_proj'] = attn.proj
        found |= {'ffn_fc1': mlp.fc1} if hasattr(mlp, 'fc1') else {'ffn_gate': mlp.fc1_g, 'ffn_value': mlp.fc1_x}
        found['ffn_fc2'] = mlp.fc2
        return {slot: LinearLayer(module) for slot, module in found.items() if weighted(module)}


class AdaptedTimmBlock(TimmBranches):
    """The block of a plain ViT, which timm calls with its tokens alone.

    Args:
        block: timm's block.
        grid: Where the backbone notes the token grid.
    """

    def __init__(self, block: Any, grid: TokenGrid) -> None:
        super().__init__(block)
        self.grid = grid

    def forward(self, x: Tensor, hw_shape: tuple[int, int] | None = None, **given: Any) -> Tensor:
        """Run the block on (B, K + H * W, C) tokens; the grid is the backbone's by default."""
        return super().forward(x, self.grid.shape if hw_shape is None else hw_shape, **given)

    def attend(self, h: Tensor, hw_shape: tuple[int, int], **given: Any) -> Tensor:  # noqa: ARG002
        """Return what attention makes of tokens (B, K + L, C)."""
        return self.attn(h, **given)


class AdaptedTimmSwinBlock(TimmBranches):
    """The block of a Swin, which timm calls with maps (B, H, W, C); windows are cut by timm's own code.

    Args:
        block: timm's block.
    """

    padded_branches = frozenset({'attn'})  # to whole windows

    def __init__(self, block: Any) -> None:
        super().__init__(block)
        self.host_class = type(block)
        # Sides of windows and shifts, and a mask where the image has one size.
        self.__dict__.update(
            {name: value for name, value in vars(block).items() if name[0] != '_' and name != 'training'}
        )
        for name, buffer in block._buffers.items():
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, x: Tensor, hw_shape: tuple[int, int] | None = None, **given: Any) -> Tensor:  # noqa: ARG002
        """Run the block on maps (B, H, W, C), which are their own grid."""
        shape = x.shape[1], x.shape[2]
        return super().forward(x.flatten(1, 2), shape, **given).unflatten(1, shape)

    def attend(self, h: Tensor, hw_shape: tuple[int, int], **_: Any) -> Tensor:
        """Return what attention inside windows makes of tokens (B, H * W, C)."""
        return self.host_class._attn(self, h.unflatten(1, hw_shape)).flatten(1, 2)

    def get_attn_mask(self, *args: Any) -> Tensor | None:
        """Return the mask of shifted windows; timm's code asks the block for it."""
        return self.host_class.get_attn_mask(self, *args)


def weighted(module: Any) -> bool:
    """Whether a module has a weight."""
    return isinstance(getattr(module, '_parameters', {}).get('weight'), nn.Parameter)
