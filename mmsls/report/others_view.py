"""Other curves of the same weights as a page has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from mmsls.pruning_index import PruningIndex
from mmsls.report import figures
from mmsls.report.facts import short
from mmsls.report.others import Other
from mmsls.report.rules import readings
from mmsls.report.run import Run
from mmsls.report.score_curve import errors_of, unit_of
from mmsls.scoring.curve import POINTS
from mmsls.scoring.stability import name_of, stability_line

FITTED = (
    'These samples tuned the model: its upper features were fitted to their labels, so that a criterion in points '
    'finds them good. Look at it on images that tuned nothing (--split val) before you decide by it.'
)


def others_view(run: Run, prefix: str, widths: Sequence[tuple[str, float]]) -> dict[str, Any] | None:
    """Return what other criteria say; None where nothing is known of any.

    Args:
        run: The run.
        prefix: What tells the ids of the figures from others.
        widths: Names and inches of the figures.
    """
    if not run.others and not run.origin.failed:
        return None
    every = [(run.path.name, run.index), *((other.path.name, other.index) for other in run.others)]
    return {
        'rows': [row(run, file, index) for file, index in every],
        'curves': [curve_view(run, other, f'{prefix}o{n}', widths) for n, other in enumerate(run.others)],
        'failed': [(short(name), short(why)) for name, why in run.origin.failed.items()],
    }


def row(run: Run, file: str, index: PruningIndex) -> dict[str, Any]:
    """Return the line of a criterion: what its rule keeps, and what that costs where it was measured."""
    cost = run.costs.at(index.kept_depths) if run.costs else None
    return {
        'criterion': short(index.criterion['type']),
        'told': index.told,
        'kept': name_of(index.kept_depths),
        'blocks': sum(index.kept_depths),
        'millions': f'{cost.parameters / 1e6:.1f}' if cost else None,
        'ms': f'{cost.seconds * 1e3:.1f}' if cost and cost.seconds else None,
        'file': file,
        'decided': index is run.index,
    }


def curve_view(run: Run, other: Other, name: str, widths: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """Return the curve of another criterion, with what the usual rules would keep of it."""
    index, rules = other.index, readings(other.index)
    sure = stability_line(index.provenance.get('stability')) or ''
    return {
        'criterion': short(index.criterion['type']),
        'unit': short(unit_of(index)),
        'samples': samples(index) if samples(index) != samples(run.index) else '',
        'file': other.path.name,
        'has_errors': bool(errors_of(index)),
        'sure': sure[:1].upper() + sure[1:],
        'note': index.note,
        'fitted': FITTED if index.curve.unit == POINTS and is_fitted(index) else '',
        'figures': [(kind, Markup(figures.curve(index, rules, f'{name}{kind}', width))) for kind, width in widths],
    }


def samples(index: PruningIndex) -> str:
    """Say in a few words what an index was scored on."""
    about = index.provenance
    count = next((f'{about[name]} {name} of ' for name in ('samples', 'images') if about.get(name)), '')
    split = f', split {about["split"]}' if about.get('split') else ''
    return short(f'{count}{about.get("dataset") or "data that the index does not name"}{split}')


def is_fitted(index: PruningIndex) -> bool:
    """Whether the samples are those that tuned the model."""
    return index.provenance.get('split') == 'train' and index.provenance.get('checkpoint') != 'untuned'
