"""A loss that draws a backbone's features to another's, added to whatever loss the model has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

LOSS = 'loss_distill'
"""Its name among the model's losses, and in the log."""
LEAST_SPREAD = 0.1
"""Least share of the teacher's mean square that counts as its variance: few or like images show too little of it."""


class Distillation:
    """Compares a backbone's outputs with a teacher's in every training pass, until it is closed.

    Nothing is added to the model but hooks of PyTorch's: no module, parameter, buffer or key of its state.

    Args:
        model: The model, unwrapped: its forward pass in mode `'loss'` returns a dictionary of losses.
        student: Its backbone.
        teacher: Takes what the backbone takes, and gives outputs of the same shapes.
        outputs: Which outputs are compared.
        weight: Factor of the loss.
    """

    def __init__(
        self, model: nn.Module, student: nn.Module, teacher: nn.Module, outputs: Sequence[int], weight: float = 1.0
    ) -> None:
        self.teacher, self.outputs, self.weight = teacher, outputs, weight
        self.added = 0
        self._found: list[Tensor] = []
        self._handles = [
            student.register_forward_hook(self._compare, with_kwargs=True),
            model.register_forward_pre_hook(self._begin),
            # Inside the forward pass that DDP wraps, so that it sees every loss that a parameter is used by.
            model.register_forward_hook(self._add, with_kwargs=True),
        ]

    def close(self) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _begin(self, *_: Any) -> None:
        self._found = []

    def _compare(self, student: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> None:
        if not (student.training and torch.is_grad_enabled()):
            return
        # At once: what follows the backbone may write into its outputs.
        with torch.no_grad():
            wanted = self.teacher(*args, **kwargs)
        self._found.append(distance(outputs, wanted, self.outputs))

    def _add(self, _: nn.Module, __: tuple[Any, ...], kwargs: dict[str, Any], losses: Any) -> Any:
        found, self._found = self._found, []
        if kwargs.get('mode') != 'loss' or not found:
            return losses
        self.added += 1
        return {**losses, LOSS: losses.get(LOSS, 0) + self.weight * torch.stack(found).mean()}  # two teachers add up


def distance(ours: Sequence[Any], theirs: Sequence[Any], outputs: Sequence[int]) -> Tensor:
    """Return how far a backbone's outputs are from another's, the mean of `unexplained` over them.

    Args:
        ours: Outputs, each a tensor or several (feature map and class token); maps (B, C, H, W), tokens (B, L, C) or
            vectors (B, C).
        theirs: Outputs of the same shapes.
        outputs: Which of them count.

    Raises:
        ValueError: If the shapes differ.
    """
    shapes = [[[tuple(leaf.shape) for leaf in leaves(side[place])] for place in outputs] for side in (ours, theirs)]
    if len(ours) != len(theirs) or shapes[0] != shapes[1]:
        raise ValueError(
            f'teacher: its {len(theirs)} outputs have the shapes {shapes[1]} where the backbone gives {len(ours)} of '
            f'{shapes[0]}; it must be the same backbone at full depth'
        )
    pairs = (pair for place in outputs for pair in zip(leaves(ours[place]), leaves(theirs[place]), strict=True))
    return torch.stack([unexplained(our, their) for our, their in pairs]).mean()


def unexplained(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the mean squared error as a share of the variance of the features that are to be met.

    0 where they are met, 1 where every channel is at its mean throughout, whatever the features' scale; a scalar, in
    float32. In place of the variance within a batch comes at least a tenth of the mean square.

    Source: the regression to hidden features of FitNets (Romero et al., ICLR 2015, arXiv 1412.6550), freed of its
    scale.

    Args:
        ours: Features, see `distance`.
        theirs: Those to be met, of the same shape.

    Example:
        >>> theirs = torch.tensor([[1.0, 10.0], [3.0, 10.0], [5.0, 10.0]])
        >>> round(float(unexplained(theirs.mean(0).expand(3, 2), theirs)), 3), float(unexplained(theirs, theirs))
        (0.239, 0.0)
    """
    our, their = by_channel(ours), by_channel(theirs)
    spread = (their - their.mean(0)).square().mean()
    least = LEAST_SPREAD * their.square().mean()
    return (our - their).square().mean() / torch.maximum(spread, least).clamp(min=torch.finfo(torch.float32).eps)


def by_channel(features: Tensor) -> Tensor:
    """Return features (B, C, H, W), (B, L, C) or (B, C) as (n, C), in float32."""
    return (features.movedim(1, -1) if features.dim() == 4 else features).flatten(0, -2).float()


def leaves(output: Any) -> Iterator[Tensor]:
    """Yield the tensors of one output."""
    if isinstance(output, Tensor):
        yield output
    else:
        for part in output:
            yield from leaves(part)
