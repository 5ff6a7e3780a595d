"""Run a tutorial cell by cell and write it as a page with what it printed and drew.

`python docs/machinery/doc_tutorials.py detector` runs docs/tutorials/detector.py (minutes) and writes detector.md and
its figures beside it.
"""

from __future__ import annotations

import argparse
import io
import os
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parents[1] / 'tutorials'
MARK = re.compile(r'^# %%(?P<kind> \[markdown\])?$', re.MULTILINE)

HOST_LINE = re.compile(r'^\d\d/\d\d [\d:]+ - mmengine - .*\n', re.MULTILINE)
"""MMEngine's log, which a page can do without."""


class Cell(NamedTuple):
    """A cell: text of a page, or code."""

    is_text: bool
    source: str


def cells(script: str) -> list[Cell]:
    r"""Return the cells of a script in percent format.

    Example:
        >>> cells('# %% [markdown]\n# # Title\n\n# %%\nx = 1\n')
        [Cell(is_text=True, source='# Title'), Cell(is_text=False, source='x = 1')]
    """
    _, *parts = MARK.split(script)
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [Cell(bool(kind), plain(text) if kind else text.strip()) for kind, text in pairs]


def plain(text: str) -> str:
    """Return a comment's text."""
    return re.sub(r'^# ?', '', text, flags=re.MULTILINE).strip()


def page(script: str, run: Callable[[str], str] = lambda _: '') -> str:
    """Return a page of a script; `run` gives what stands under a cell of code."""
    parts = [
        cell.source if cell.is_text else f'```python\n{cell.source}\n```\n{run(cell.source)}' for cell in cells(script)
    ]
    return '\n\n'.join(part.strip() for part in parts) + '\n'


class Notebook:
    """Runs cells one after the other, and keeps what they draw.

    Args:
        name: The tutorial's; its figures begin with it.
        folder: Where they go, in a folder `figures`.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.space: dict[str, Any] = {'__name__': '__main__'}
        self.drawn = 0

    def run(self, source: str) -> str:
        """Run a cell and return what it printed and drew, as Markdown."""
        import matplotlib.pyplot as plt

        said = io.StringIO()
        plt.show = lambda: None
        with redirect_stdout(said):
            exec(compile(source, self.name, 'exec'), self.space)
        text = HOST_LINE.sub('', said.getvalue()).strip()
        parts = [f'```text\n{text}\n```' if text and not text.startswith('|') else text]
        parts += [self._figure(plt.figure(number)) for number in plt.get_fignums()]
        plt.close('all')
        return '\n' + '\n\n'.join(part for part in parts if part) if any(parts) else ''

    def _figure(self, figure: Any) -> str:
        self.drawn += 1
        path = self.folder / 'figures' / f'{self.name}-{self.drawn}.png'
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, dpi=110)
        return f'![what the cell above draws](figures/{path.name})'


def main() -> None:
    """Run tutorials and write their pages."""
    os.environ.setdefault('MPLBACKEND', 'agg')
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('names', nargs='+', help='such as detector')
    for name in parser.parse_args().names:
        before = os.times()
        text = page((FOLDER / f'{name}.py').read_text(), Notebook(name, FOLDER).run)
        (FOLDER / f'{name}.md').write_text(text)
        print(f'{name}: {minutes(before, os.times())}')


def minutes(before: os.times_result, after: os.times_result) -> str:
    """Say how long something took: what it computed, its child processes included, and what a clock on the wall says.

    Example:
        >>> minutes(os.times_result((0, 0, 0, 0, 0)), os.times_result((600, 60, 60, 0, 1440)))
        '12.0 minutes of processor time, 24.0 minutes in all'
    """
    computed = sum(after[:4]) - sum(before[:4])
    return f'{computed / 60:.1f} minutes of processor time, {(after.elapsed - before.elapsed) / 60:.1f} minutes in all'


if __name__ == '__main__':
    main()
