"""What a run on one task leaves behind, and the tables made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

from mmsls.files.reading import read_json
from mmsls.files.writing import write_json
from mmsls.report.table import markdown
from mmsls.vtab.facts import GROUPS, group_of

RESULTS_FILE = 'comparison.json'
HEADER = (
    *('method', 'blocks kept', 'accuracy', 'before retraining', 'total M', 'trained M', 'stored M'),
    *('stored KiB', 'GMACs', 'images/s', 'train MiB'),
)


@dataclass(frozen=True)
class Result:
    """One method on one task with one seed.

    Attributes:
        task: Name of the task.
        seed: Of training and of what the method draws.
        method: Name of the method.
        kept: `[stage, block]` of the blocks that stay.
        accuracy: Test accuracy of the final model, in percent; None where nothing was trained.
        before: Test accuracy after pruning and before retraining; None where nothing was pruned.
        total: Parameters of the model.
        trained: Those with a gradient.
        stored: Those that the task stores.
        stored_bytes: Size of the files that the task stores.
        macs: Multiply-accumulates of one image.
        throughput: Test images per second in one batch.
        memory: Bytes that retraining on that batch adds to the model's own (see
            `mmsls.cost.complexity.training_bytes`).
        same_as: Another method that keeps the same blocks and whose run this is, or None.
    """

    task: str
    seed: int
    method: str
    kept: list[list[int]]
    accuracy: float | None
    before: float | None
    total: int
    trained: int
    stored: int
    stored_bytes: int
    macs: int
    throughput: float
    memory: int
    same_as: str | None = None


def save(results: Sequence[Result], path: Path) -> None:
    """Write results as JSON."""
    write_json([asdict(result) for result in results], path)


def load(path: Path) -> list[Result]:
    """Read what `save` wrote; nothing where it wrote nothing yet."""
    if not path.exists():
        return []
    return [Result(**fields) for fields in read_json(path)]


def task_table(results: Sequence[Result]) -> str:
    """Return one task's table as Markdown: a line per method, mean over its seeds; one that lacks some says so."""
    seeds = runs_in(results)
    lines = []
    for group in by_method(results):
        name, *rest = cells(group)
        lines.append((counted(name, group, seeds, 'seeds'), *rest))
    return markdown(HEADER, lines)


def runs_in(results: Iterable[Result]) -> set[tuple[str, int]]:
    """Return task and seed of every run."""
    return {(result.task, result.seed) for result in results}


def counted(name: str, results: Sequence[Result], wanted: set[tuple[str, int]], what: str) -> str:
    """Add to a name how many of the wanted runs there are, where some are missing."""
    found = runs_in(results)
    return name if found == wanted else f'{name} ({len(found)} of {len(wanted)} {what})'


def cells(results: Sequence[Result]) -> tuple[str, ...]:
    """Return the texts of one method's line."""
    same = {result.same_as for result in results}
    name = results[0].method if len(same) > 1 or None in same else f'{results[0].method} (= {same.pop()})'
    kept = ', '.join(sorted({blocks_text(result.kept) for result in results}))
    accuracy, before = (spread([getattr(r, field) for r in results]) for field in ('accuracy', 'before'))
    millions = [f'{mean(getattr(r, field) for r in results) / 1e6:.3f}' for field in ('total', 'trained', 'stored')]
    numbers = (
        f'{mean(r.stored_bytes for r in results) / 1024:.0f}',
        f'{mean(r.macs for r in results) / 1e9:.3f}',
        f'{mean(r.throughput for r in results):.1f}',
        f'{mean(r.memory for r in results) / 2**20:.0f}',
    )
    return (name, kept, accuracy, before, *millions, *numbers)


def summary_table(results: Sequence[Result]) -> str:
    """Return the benchmark's table as Markdown: mean accuracy of every group, and the mean of the groups.

    A mean is left open where the method lacks a run that another method has: means over different tasks or seeds don't
    compare.
    """
    lines = []
    for group in by_method(results):
        per_group = [group_mean(group, results, name) for name in GROUPS]
        means = ['-' if value is None else f'{value:.2f}' for value in per_group]
        known = [value for value in per_group if value is not None]
        overall = f'{mean(known):.2f}' if len(known) == len(GROUPS) else '-'
        tasks = len({result.task for result in group})
        depth = mean(len(result.kept) for result in group)
        trained, stored = (mean(getattr(result, field) for result in group) / 1e6 for field in ('trained', 'stored'))
        costs = (
            f'{depth:.1f}',
            f'{trained:.3f}',
            f'{stored:.3f}',
            f'{mean(result.throughput for result in group):.1f}',
        )
        name = counted(group[0].method, group, runs_in(results), 'runs')
        lines.append((name, str(tasks), *means, overall, *costs))
    costs = ('mean depth', 'trained M', 'stored M', 'images/s')
    header = ('method', 'tasks', *(name.capitalize() for name in GROUPS), 'average', *costs)
    return markdown(header, lines)


def group_mean(results: Iterable[Result], everything: Iterable[Result], group: str) -> float | None:
    """Return a method's accuracy, averaged over seeds, then over a group's tasks.

    It is None where the method lacks a run that is in `everything`.
    """
    ours, wanted = ([r for r in rows if group_of(r.task) == group] for rows in (results, everything))
    if not ours or runs_in(ours) != runs_in(wanted):
        return None
    per_task: dict[str, list[float]] = {}
    for result in ours:
        if result.accuracy is None:
            return None
        per_task.setdefault(result.task, []).append(result.accuracy)
    return mean(mean(values) for values in per_task.values())


def by_method(results: Sequence[Result]) -> list[list[Result]]:
    """Group results by method, in their order."""
    names = dict.fromkeys(result.method for result in results)
    return [[result for result in results if result.method == name] for name in names]


def blocks_text(kept: Sequence[Sequence[int]]) -> str:
    """Write kept blocks, at least one, shortly: numbers per stage, runs joined.

    Example:
        >>> blocks_text([[0, 0], [0, 1], [0, 2], [0, 5]]), blocks_text([[0, 0], [1, 0], [1, 1]])
        ('0-2 5', '0 / 0-1')
    """
    stages: list[list[int]] = [[] for _ in range(max(stage for stage, _ in kept) + 1)]
    for stage, block in kept:
        stages[stage].append(block)
    return ' / '.join(' '.join(runs_of(blocks)) or '-' for blocks in stages)


def runs_of(numbers: Sequence[int]) -> list[str]:
    """Join consecutive numbers: `[0, 1, 2, 5]` becomes `['0-2', '5']`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [str(run[0]) if len(run) == 1 else f'{run[0]}-{run[-1]}' for run in runs]


def spread(values: Iterable[float | None]) -> str:
    """Write the mean of some numbers, with the standard deviation where there are several.

    Example:
        >>> spread([50.0, 52.0]), spread([50.0]), spread([None])
        ('51.00 ± 1.41', '50.00', '-')
    """
    known = [value for value in values if value is not None]
    if not known:
        return '-'
    return f'{mean(known):.2f}' + (f' ± {stdev(known):.2f}' if len(known) > 1 else '')
