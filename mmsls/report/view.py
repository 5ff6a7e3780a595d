"""What a page says of one run: its parts as plain data, which the template turns into HTML and escapes."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup, escape

from mmsls.pruning_index import PruningIndex
from mmsls.report import figures
from mmsls.report.advice import advise
from mmsls.report.costs import costs_view, trade_offs
from mmsls.report.facts import facts, short, warnings
from mmsls.report.how_to import how_tos
from mmsls.report.map_view import class_counts, maps_view, no_maps
from mmsls.report.others_view import others_view
from mmsls.report.rules import Reading, readings
from mmsls.report.run import Run
from mmsls.report.score_curve import errors_of, unit_of
from mmsls.report.table import cells
from mmsls.scoring.stability import name_of, stability_line

WIDTHS = (('wide', figures.WIDE), ('narrow', figures.NARROW))
"""Every figure is drawn twice, and the page shows the one that fits."""


def view(run: Run, prefix: str, brief: bool = False) -> dict[str, Any]:
    """Return the parts of a page on one run.

    Args:
        run: The run.
        prefix: What tells the ids of its figures from those of other runs; letters and digits.
        brief: For one of several runs: leave out the maps of all blocks but the last kept one and the top one, other
            criteria, and how-tos that nothing asks for.
    """
    index, advice = run.index, advise(run.index)
    rules = readings(index)
    return {
        'id': prefix,
        'name': run.name,
        'kept': name_of(index.kept_depths),
        'full': name_of(index.foundation.depths),
        'stages': stages(index),
        'blocks': sum(index.kept_depths),
        'of': sum(index.foundation.depths),
        'decided': index.told,
        'criterion': index.criterion['type'],
        'unit': unit_of(index),
        'backbone': index.foundation.type,
        'adapter': short((index.foundation.adapter or {}).get('type', 'none')),
        'advice': advice,
        'how_tos': [*how_tos(advice, run.path, index, run.origin, every=not brief).values()],
        'anchor': f'{prefix}-' if brief else '',
        'others': None if brief else others_view(run, prefix, WIDTHS),
        'warnings': warnings(run),
        'sure': stability_line(index.provenance.get('stability')),
        'curves': [(kind, Markup(figures.curve(index, rules, f'{prefix}{kind}', width))) for kind, width in WIDTHS],
        'has_errors': bool(errors_of(index)),
        'rules': [rule_view(rule, run) for rule in rules],
        'maps': maps_view(run, brief),
        'no_maps': no_maps(index),
        'costs': costs_view(run),
        'trade_offs': trade_offs(run, prefix, WIDTHS),
        'chain': cells(run.rows) if run.rows else None,
        'facts': facts(index),
        'classes': class_counts(run),
    }


def rule_view(reading: Reading, run: Run) -> dict[str, Any]:
    """Return the line of a rule: what it keeps, and what that costs where it was measured."""
    cost = run.costs.at(reading.kept_depths) if run.costs else None
    return {
        'told': reading.told,
        'decided': reading.decided,
        'kept': name_of(reading.kept_depths),
        'blocks': sum(reading.kept_depths),
        'millions': f'{cost.parameters / 1e6:.1f}' if cost else None,
        'ms': f'{cost.seconds * 1e3:.1f}' if cost and cost.seconds else None,
    }


def stages(index: PruningIndex) -> list[list[bool]]:
    """Return whether each block stays, stage by stage."""
    kept = set(index.kept_blocks)
    return [[(stage, block) in kept for block in range(n)] for stage, n in enumerate(index.foundation.depths)]


def marked_up(text: str) -> Markup:
    """Return a text as HTML, what stands in backticks as code.

    Example:
        >>> marked_up('try `--alpha 1` & look')
        Markup('try <code>--alpha 1</code> &amp; look')
    """
    return Markup(re.sub(r'`([^`]+)`', r'<code>\1</code>', str(escape(text))))
