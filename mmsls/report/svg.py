"""Figures as SVG inside a page: text in the page's font, colours the page's, so that light and dark both work."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT, KEPT, CUT, BAND, SECOND = '#010101', '#010102', '#010103', '#010104', '#010105', '#010106'
"""Colours that stand for those of the page."""
THEME = {
    INK: 'currentColor',
    FAINT: 'var(--line)',
    KEPT: 'var(--kept)',
    CUT: 'var(--cut)',
    BAND: 'var(--band)',
    SECOND: 'var(--second)',
}
SETTINGS: Any = {
    'svg.fonttype': 'none',
    'font.family': 'sans-serif',
    'text.color': INK,
    'axes.labelcolor': INK,
    'axes.edgecolor': FAINT,
    'xtick.color': FAINT,
    'ytick.color': FAINT,
    'xtick.labelcolor': INK,
    'ytick.labelcolor': INK,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'grid.color': FAINT,
    'legend.frameon': False,
    'legend.labelcolor': INK,
    'font.size': 10,
    'text.parse_math': False,
}
"""What matplotlib draws by while a figure for the page is made."""

NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def inline(figure: Figure, name: str, told: str) -> str:
    """Return a figure as an element of a page.

    Args:
        figure: Drawn under `SETTINGS`.
        name: What tells its parts from those of the page's other figures; letters and digits.
        told: What it shows, for who cannot see it.
    """
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({**SETTINGS, 'svg.hashsalt': name}):
        figure.savefig(file, format='svg', transparent=True, metadata={'Date': None, 'Creator': None})
    text = file.getvalue()
    text = text[text.index('<svg') :]
    for pattern, put in (
        (r'<metadata>.*?</metadata>|<style.*?</style>', ''),
        (r'<g id="[^"]+_\d+"', '<g'),  # figure_1 and its like, in every figure
        (r'(id="|url\(#|href="#)', rf'\g<1>{name}-'),
        (r'font-family: [^;"]+;? ?', ''),
        (r'font: (?:\w+ )*?([\d.]+px) [^;"]+', r'font-size: \1'),
        (r'\s*\n\s*', ' '),
    ):
        text = re.sub(pattern, put, text, flags=re.DOTALL)
    for stands, colour in THEME.items():
        text = text.replace(stands, colour)
    size = re.findall(r'viewBox="0 0 [\d.]+ [\d.]+"', text)[0]
    return (
        f'<svg class="figure" role="img" aria-label="{escape(told)}" {size} {NAMESPACES}>{text[text.index(">") + 1 :]}'
    )
