"""What the tests of the pages share: where blocks of code stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Block(NamedTuple):
    """A block of code on a page; `only_checked` says why it is not run."""

    page: str
    number: int
    language: str
    code: str
    only_checked: str


FENCE = re.compile(
    r'(?:^<!-- checked only: (?P<why>[^\n]*) -->\n)?^```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```', re.M | re.S
)


def pages() -> list[Path]:
    """Return README, the site's pages and the READMEs of the configs; tutorials are run as a whole."""
    found = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *(ROOT / 'docs').rglob('*.md')]
    found += (ROOT / 'configs').rglob('README.md')
    return sorted(path for path in found if path.parent.name != 'tutorials')


def blocks(language: str) -> list[Block]:
    """Return every block of a language."""
    return [
        Block(str(path.relative_to(ROOT)), number, match['language'], match['code'], match['why'] or '')
        for path in pages()
        for number, match in enumerate(FENCE.finditer(path.read_text()))
        if match['language'] == language
    ]


def title(block: Block) -> str:
    """Return a test's name."""
    return f'{block.page}:{block.number}'
