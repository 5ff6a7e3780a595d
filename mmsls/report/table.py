"""The table that ends a chain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from mmsls.cost.measuring import Row
from mmsls.features.trial import headline

HEADER = ('model', 'blocks', 'metric', 'total M', 'trained M', 'stored M', 'GMACs', 'ms', 'time', 'train MiB')


def cells(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the header and one tuple of texts per row."""
    key = next((headline(row.metrics) for row in rows if row.metrics), None)
    header = tuple(key if name == 'metric' and key else name for name in HEADER)
    full_latency = next((row.latency for row in rows if row.latency), 0.0)
    return header, [row_cells(row, key, full_latency) for row in rows]


def row_cells(row: Row, key: str | None, full_latency: float) -> tuple[str, ...]:
    """Return the texts of one row."""
    counts = row.parameters
    millions = (
        ['-'] * 3 if counts is None else [f'{n / 1e6:.3f}' for n in (counts.total, counts.trained, counts.stored)]
    )
    metric = f'{row.metrics[key]:.3f}' if key in row.metrics else '-'
    depths = '-'.join(map(str, row.depths))
    return (
        row.name,
        depths,
        metric,
        *millions,
        f'{row.macs / 1e9:.3f}',
        f'{row.latency * 1e3:.1f}{" (merged)" if row.merged else ""}' if row.latency else '-',
        f'{row.latency / full_latency:.2f}' if row.latency else '-',
        f'{row.memory / 2**20:.0f}' if row.memory else '-',
    )


def rich_table(rows: Sequence[Row]) -> Table:
    """Return the table for a terminal."""
    header, body = cells(rows)
    title = 'millions of parameters (stored: all but the frozen base); time relative to the first timed row;\n'
    table = Table(title=title + 'train MiB: what a training step on two images adds to the model')
    for name in header:
        table.add_column(name.rsplit('/', 1)[-1], justify='left' if name == 'model' else 'right')
    for line in body:
        table.add_row(*line)
    return table


def markdown_table(rows: Sequence[Row]) -> str:
    """Return the table as Markdown."""
    return markdown(*cells(rows))


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Write a table as Markdown, all columns but the first to the right.

    Example:
        >>> print(markdown(('a', 'b'), [('1', '2')]), end='')
        | a | b |
        | --- | ---: |
        | 1 | 2 |
    """
    rule = ['---'] + ['---:'] * (len(header) - 1)
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in [header, rule, *lines]) + '\n'
