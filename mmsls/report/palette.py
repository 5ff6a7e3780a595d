"""Colours and marks that colour-blind people tell apart, on a light page and on a dark one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

COLOURS = ('#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00')
"""Okabe & Ito's colours (Color Universal Design, 2008) but black and yellow, which vanish on a dark or white page."""
MARKS = {
    'o': '<circle cx="8" cy="8" r="5"/>',
    '^': '<path d="M8 2.5 14 13H2z"/>',
    's': '<path d="M3.5 3.5h9v9h-9z"/>',
    'D': '<path d="M8 2 14 8 8 14 2 8z"/>',
    'P': '<path d="M6 2.5h4V6h3.5v4H10v3.5H6V10H2.5V6H6z"/>',
    'v': '<path d="M8 13.5 2 3h12z"/>',
    'X': '<path d="M5 2.2 8 5.2 11 2.2 13.8 5 10.8 8 13.8 11 11 13.8 8 10.8 5 13.8 2.2 11 5.2 8 2.2 5z"/>',
    '*': '<path d="m8 1.8 1.7 4.1 4.5.4-3.4 2.9 1 4.4L8 11.3l-3.8 2.3 1-4.4L1.8 6.3l4.5-.4z"/>',
    '<': '<path d="M2.5 8 13 2v12z"/>',
    'p': '<path d="m8 2.2 5.8 4.2-2.2 6.9H4.4L2.2 6.4z"/>',
    '>': '<path d="M13.5 8 3 14V2z"/>',
    'h': '<path d="m8 2 5.2 3v6L8 14l-5.2-3V5z"/>',
    'd': '<path d="M8 1.5 12 8l-4 6.5L4 8z"/>',
    '8': '<path d="M5.7 2.5h4.6l3.2 3.2v4.6l-3.2 3.2H5.7l-3.2-3.2V5.7z"/>',
}
"""matplotlib's name of every mark, and the mark in 16 x 16 units of SVG."""
MOST = len(COLOURS) * len(MARKS)
"""Classes that get a style of their own."""
OTHER = '#8a8a8a'
"""Colour of the classes beyond."""


@dataclass(frozen=True)
class Style:
    """How the points of a class are drawn: colour and mark (matplotlib's name)."""

    colour: str
    mark: str


def styles(labels: Iterable[int]) -> dict[int, Style]:
    """Return the style of every class, the most frequent first: the first six differ by colour alone.

    Example:
        >>> styles([7, 3, 3])
        {3: Style(colour='#0072b2', mark='o'), 7: Style(colour='#e69f00', mark='o')}
    """
    counts = Counter(labels)
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    marks = list(MARKS)
    return {
        label: Style(COLOURS[rank % len(COLOURS)], marks[rank // len(COLOURS)]) if rank < MOST else Style(OTHER, 'o')
        for rank, label in enumerate(ranked)
    }
