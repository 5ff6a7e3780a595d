"""The two stacks that the toolboxes come as, told apart, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass

from mmsls.environment.facts import STACK, Facts


@dataclass(frozen=True)
class Stack:
    """One set of distributions under the import names of the toolboxes.

    Attributes:
        title: What it is called.
        known: Faults of it that concern users of mmsls, a line each.
    """

    title: str
    known: tuple[str, ...] = ()


ONEDL = Stack(
    'maintained forks (onedl-*)',
    (
        "`_base_ = 'mmseg::...'` is not found (MMEngine looks for a distribution called mmsegmentation); name a file, "
        'or a config of mmsls',
    ),
)
OPENMMLAB = Stack(
    "OpenMMLab's own releases",
    (
        'mmengine 0.10.7 loads its own checkpoints under torch < 2.6 alone; slim checkpoints of mmsls load everywhere',
        'mmdet 3.3.0 and mmsegmentation 1.2.2 refuse mmcv 2.2 and later: mmcv==2.1.0',
    ),
)
MIXED = Stack('both stacks, which breaks both')
NONE = Stack('-')


def stack_of(facts: Facts) -> Stack:
    """Return which stack is installed.

    Example:
        >>> stack_of(Facts('3.11.7', versions={'onedl-mmcv': '2.3.6'})).title
        'maintained forks (onedl-*)'
    """
    onedl, official = forks(facts), officials(facts)
    if onedl and official:
        return MIXED
    return ONEDL if onedl else OPENMMLAB if official else NONE


def forks(facts: Facts) -> list[str]:
    """Return the maintained forks that are installed, by distribution."""
    return [name for names in STACK.values() for name in names[:1] if name in facts.versions]


def officials(facts: Facts) -> list[str]:
    """Return OpenMMLab's own distributions that are installed."""
    return [name for names in STACK.values() for name in names[1:] if name in facts.versions]
