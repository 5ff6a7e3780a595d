"""What there is to choose from, as a table and in words."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from mmsls.cost.by_depth import DepthCosts
from mmsls.pruning_index import PruningIndex
from mmsls.scoring.candidates import Candidate, candidate, candidates

HEADER = ('', 'blocks', 'setting', 'value', 'drop', 'total M', 'GMACs', 'ms', 'time')
NOW = '*'
"""Marks what is decided now."""


def choices(index: PruningIndex) -> list[Candidate]:
    """Return what the index's kind of rule can keep, and what is kept now where no rule gives that, deepest first."""
    found = candidates(index.curve, index.rule)
    if not any(is_kept(index, one) for one in found):
        found.append(candidate(index.curve, index.kept_depths, index.subset, like=index.rule))
    return sorted(found, key=lambda one: -sum(one.kept_depths))


def choice_cells(index: PruningIndex, costs: DepthCosts | None) -> list[tuple[str, ...]]:
    """Return one tuple of texts for everything that could be kept; `-` where something is not known."""
    return [(*told(index, one), *cost_cells(costs, one.kept_depths)) for one in choices(index)]


def told(index: PruningIndex, one: Candidate) -> tuple[str, ...]:
    """Return the texts that need no costs."""
    now, digits = is_kept(index, one), 2 if index.curve.unit == 'points' else 3
    by_hand = now and index.chosen is not None and index.chosen.by_hand
    setting = 'by hand' if by_hand else one.rule.told.removesuffix(f' {index.curve.unit}') if one.rule else '-'
    numbers = ('-' if number is None else f'{number:.{digits}f}' for number in (one.value, one.drop))
    return NOW if now else '', '-'.join(map(str, one.kept_depths)), setting, *numbers


def cost_cells(costs: DepthCosts | None, kept_depths: tuple[int, ...]) -> tuple[str, ...]:
    """Return the texts of what a depth costs."""
    row = costs.at(kept_depths) if costs else None
    if costs is None or row is None:
        return ('-',) * 4
    share = row.seconds / costs.full.seconds
    return f'{row.parameters / 1e6:.3f}', f'{row.macs / 1e9:.3f}', f'{row.seconds * 1e3:.1f}', f'{share:.2f}'


def is_kept(index: PruningIndex, one: Candidate) -> bool:
    """Whether it is what an index keeps."""
    return (one.kept_depths, one.subset) == (index.kept_depths, index.subset)


def choice_table(index: PruningIndex, costs: DepthCosts | None) -> Table:
    """Return the table for a terminal; columns that nothing is known of are left out."""
    lines = choice_cells(index, costs)
    known = [
        column for column, name in enumerate(HEADER) if not name or any(line[column] not in ('', '-') for line in lines)
    ]
    table = Table(title=f'{NOW} is kept now')
    for column in known:
        table.add_column(HEADER[column], justify='left' if column in (0, 2) else 'right')
    for line in lines:
        table.add_row(*(line[column] for column in known))
    return table


def basis(index: PruningIndex, costs: DepthCosts | None) -> Iterator[str]:
    """Say what the table rests on, in a few lines."""
    about, curve = index.provenance, index.curve
    metric = f' of {about["metric"]}, bridged' if about.get('metric') else ''
    reads = {
        'keep': 'the lowest that is kept',
        'stage': 'at the last kept block of the stage that loses most',
        'model': 'at the last kept block',
    }
    where = reads['keep' if index.rule.keep is not None else index.scope]
    yield f'value: {curve.unit}{metric} ({index.criterion["type"]}), {where}; drop: against the best block'
    count = next((f'{about[name]} {name} of ' for name in ('samples', 'images') if about.get(name)), '')
    source, split = about.get('dataset') or 'data that the index does not name', about.get('split')
    weights = f', weights {about["checkpoint"]}' if about.get('checkpoint') else ''
    yield f'scored on {count}{source}{f", split {split}" if split else ""}{weights}'
    yield (
        f'costs: the whole model, head included; time measured on {costs.told}'
        if costs
        else 'costs: not known; --config CONFIG measures every depth'
    )


def outcome(index: PruningIndex, before: PruningIndex) -> Iterator[str]:
    """Say what is kept now, what that rests on, and what it was before."""
    chosen = index.chosen
    yield f'kept {index.kept_depths} of {index.foundation.depths} blocks: {index.told}'
    if index.subset:
        yield f'kept (stage, block): {", ".join(map(str, index.subset))}'
    if chosen is not None and not chosen.met:
        yield (
            f'no setting of this kind of rule reaches that: {reached(index)} is the least; another --scope or '
            '--min-depth may have less, and --depths takes anything'
        )
    elif chosen is not None and chosen.reached is not None:
        yield f'reached: {reached(index)}'
    if chosen is not None:
        yield f'it rests on {chosen.rests_on}'
    if index.note:
        yield index.note
    if (index.kept_depths, index.subset, index.told) != (before.kept_depths, before.subset, before.told):
        yield f'before: {before.kept_depths}, {before.told}'


def reached(index: PruningIndex) -> str:
    """Say what a target came to, in its unit.

    Example:
        >>> from mmsls.pruning_index.choosing import to_cost
        >>> vit = dict(type='PrunedVisionTransformer', embed_dims=192, depths=(2,))
        >>> index = PruningIndex.create(scores={(0, 0): 0.1, (0, 1): 0.3}, backbone=vit)
        >>> reached(to_cost(index, 'max_params', 5e6, {(2,): 6e6, (1,): 4e6}, ''))
        '4,000,000 parameters'
    """
    assert index.chosen is not None
    number = index.chosen.reached
    return {
        'max_params': f'{number:,.0f} parameters',
        'target_latency': f'{number:.2f} of the time',
        'sure': f'{number:.2f} points lost, errors included',
        'verify': f'{number:.2f} points lost',
    }[index.chosen.by]
