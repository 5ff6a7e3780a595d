"""What an index says of itself: what was sampled, and what a reader must know of the decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmsls.pruning_index import PruningIndex
from mmsls.report.run import Run

LONGEST = 300
"""Characters of a text from an index that a page shows."""
FACTS = {
    'dataset': 'data set',
    'split': 'split',
    'checkpoint': 'weights',
    'sampler': 'sampler',
    'samples': 'samples',
    'images': 'images',
    'classes': 'classes',
    'max_samples': 'most samples',
    'seed': 'seed',
    'perplexity': 'perplexity',
    'metric': 'metric',
}
"""What an index says of its samples, and how a page calls it."""


def warnings(run: Run) -> list[str]:
    """Return what a reader must know of a decision, in words."""
    index, about = run.index, run.index.provenance
    found = [text for text in (about.get('warning'), index.note) if isinstance(text, str)]
    if 'asked_max_drop' in about:
        found.append(f'max_drop was {short(about["asked_max_drop"])}: together the stages lose more than each alone')
    if index.borderline:
        blocks = ', '.join(map(str, index.borderline[:12])) + (' and more' if len(index.borderline) > 12 else '')
        found.append(f'close calls, within {index.rule.margin:g} of their threshold: (stage, block) {blocks}')
    return [*found, *run.remarks]


def facts(index: PruningIndex) -> list[tuple[str, str]]:
    """Return what the index says of what was looked at."""
    about = index.provenance
    found = [(told, short(about[name])) for name, told in FACTS.items() if about.get(name) is not None]
    counts = about.get('counts')
    if isinstance(counts, Mapping):
        skipped = counts.get('skipped')
        reasons = (
            ', '.join(f'{short(n)} {short(why)}' for why, n in skipped.items()) if isinstance(skipped, Mapping) else ''
        )
        text = f'{short(counts.get("kept"))} of {short(counts.get("offered"))} {short(counts.get("unit"))}'
        found.append(('used', f'{text}{f"; left out: {reasons}" if reasons else ""}'))
    if isinstance(about.get('versions'), Mapping):
        found.append(('versions', short(', '.join(f'{name} {value}' for name, value in about['versions'].items()))))
    if index.foundation.base_sha256:
        found.append(('base', f'SHA-256 {index.foundation.base_sha256[:12]}...'))
    return found


def short(value: Any) -> str:
    """Return a value of an index as a text of bounded length."""
    text = str(value)
    return text if len(text) <= LONGEST else f'{text[: LONGEST - 3]}...'
