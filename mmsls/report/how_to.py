"""How-tos with a run's own names filled in: what its page has, and what the last lines of the run say."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmsls.pruning_index import PruningIndex
from mmsls.pruning_index.keeping import also_path
from mmsls.report.advice import Advice
from mmsls.report.how_to_texts import HOW_TO
from mmsls.report.origin import Origin, nearby

ALWAYS = 'choose'
"""What every page has."""
CONFIG, CHECKPOINT = 'CONFIG', 'CHECKPOINT'
"""What stands for names that are not known."""


@dataclass(frozen=True)
class HowTo:
    """A how-to of one run.

    Attributes:
        key: What its anchor is called.
        title: What it does.
        text: What it takes and what comes of it.
        commands: Ready to paste.
        section: How a heading in docs/ begins that has more.
    """

    key: str
    title: str
    text: str
    commands: tuple[str, ...]
    section: str


def how_tos(
    advice: Sequence[Advice], path: Path, index: PruningIndex, origin: Origin, every: bool = True
) -> dict[str, HowTo]:
    """Return the how-tos that some advice asks for, by what it calls them, and the one that every page has.

    Args:
        advice: The advice.
        path: The index file.
        index: What it says.
        origin: Where its scores come from.
        every: Whether the one that every page has is wanted.
    """
    keys = dict.fromkeys([*(key for one in advice for _, key in one.tries), *([ALWAYS] if every else [])])
    return {key: how_to(key, path, index, origin) for key in keys}


def how_to(key: str, path: Path, index: PruningIndex, origin: Origin) -> HowTo:
    """Return a how-to with a run's names filled in."""
    probe = also_path(path, 'Probe')
    has_probe = probe.is_file() and index.provenance.get('split') not in (None, 'train')
    text = HOW_TO['probe_here' if key == 'probe' and has_probe else key]
    words = {
        'index': nearby(path),
        'folder': nearby(path.parent),
        'probe': nearby(probe),
        'config': nearby(origin.config) or CONFIG,
        'checkpoint': nearby(origin.checkpoint) or untuned(key, index),
        'depths': ','.join(map(str, index.foundation.depths)),
        'drop': f'{2 * (index.rule.max_drop or 1):g}',
    }
    commands = tuple(filled(command, words, origin.options) for command in text.commands)
    return HowTo(key, text.title, text.text, commands, text.section)


def untuned(key: str, index: PruningIndex) -> str:
    """Return what stands in the place of unknown weights: nothing where the untuned base can be scored again."""
    again = key in ('probe', 'more', 'split', 'background')
    return '' if again and index.provenance.get('checkpoint') == 'untuned' else CHECKPOINT


def filled(command: str, words: dict[str, str], options: Sequence[str]) -> str:
    """Return a command with names filled in and quoted, and the settings that the config was read with.

    Example:
        >>> filled('mmsls test {config} {checkpoint}', {'config': 'my tune.py', 'checkpoint': ''}, ['a.b=1'])
        "mmsls test 'my tune.py' --cfg-options a.b=1"
    """
    parts = [word.format(**words) for word in command.split(' ')]
    parts = [part for part in parts if part]
    if '{config}' in command and options:
        parts += options if '--cfg-options' in parts else ['--cfg-options', *options]
    return shlex.join(parts)


def closing_lines(advice: Sequence[Advice], found: dict[str, HowTo], page: Path | None) -> list[str]:
    """Return advice for a terminal: what to try, by which command, and where the page has more."""
    lines = []
    for one in advice:
        lines.append(one.text)
        for what, key in one.tries:
            lines += [f'  try: {what}', f'       {found[key].commands[0]}']
    return [*lines, *([f'how to do that: {nearby(page)}#how'] if page and any(one.tries for one in advice) else [])]
