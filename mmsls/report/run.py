"""What a scoring run left in its folder, read for a report; what is absent or damaged costs no page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mmsls.cost.by_depth import NAME, DepthCosts
from mmsls.cost.complexity import ParameterCounts
from mmsls.cost.measuring import Row
from mmsls.features.maps import Maps
from mmsls.files.reading import read_json
from mmsls.pruning_index import PruningIndex
from mmsls.pruning_index.keeping import INDEX_FILE, MAPS_FILE, beside
from mmsls.report.origin import Origin
from mmsls.report.others import Other, others_of

ROWS_FILE = 'results.json'
"""Beside the index: the rows of a chain's table."""

Part = TypeVar('Part')


@dataclass
class Run:
    """A scoring run, as its folder has it.

    Attributes:
        name: What to call it.
        path: The index file.
        index: The index.
        maps: Samples and maps; None where there are none.
        costs: What every depth costs; None where it was not measured.
        rows: The chain's table; empty where no chain ran.
        others: Other curves of the same weights.
        origin: Where the scores come from.
        remarks: What could not be read, in words.
    """

    name: str
    path: Path
    index: PruningIndex
    maps: Maps | None = None
    costs: DepthCosts | None = None
    rows: list[Row] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)
    origin: Origin = field(default_factory=Origin)
    remarks: list[str] = field(default_factory=list)


def read_run(given: str | Path) -> Run:
    """Read what lies in a work directory, or beside an index file.

    Raises:
        FileNotFoundError: If there is no index.
        ValueError: If the index is damaged.
    """
    path = Path(given).expanduser()
    name = path.resolve().name if path.is_dir() else (path.resolve().parent.name or path.stem)
    if path.is_dir():
        path = path / INDEX_FILE
        if not path.exists():
            raise FileNotFoundError(
                f'{str(given)!r} holds no {INDEX_FILE}; give the work directory of a scoring run, or an index file'
            )
    elif path.name != INDEX_FILE:
        name = f'{name}/{path.stem}'
    run = Run(name, path, PruningIndex.load(path))
    run.maps = part(run, beside(path, MAPS_FILE), lambda file: Maps.load(file, run.index))
    run.costs = part(run, path.with_name(NAME), lambda file: DepthCosts.load(file, run.index.backbone))
    run.rows = part(run, path.with_name(ROWS_FILE), rows_of) or []
    run.others = others_of(path, run.index, run.remarks)
    run.origin = part(run, path, lambda file: Origin.load(file, run.index)) or Origin()
    return run


def part(run: Run, path: Path, read: Callable[[Path], Part]) -> Part | None:
    """Read a file that may be absent; of a damaged one the run has a remark."""
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        run.remarks.append(str(error))
        return None


def rows_of(path: Path) -> list[Row]:
    """Read the rows of a chain's table.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
    """
    content = read_json(path, 'the table is left out')
    try:
        return [checked_row(**fields) for fields in content]
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f'{path.name} is no table of a chain, and left out: {error}') from error


def checked_row(parameters: dict[str, int] | None = None, **fields: Any) -> Row:
    """Return a row of what a file says of it.

    Raises:
        TypeError: If a field is unknown, or of another type.
        ValueError: If a number is none.
    """
    row = Row(parameters=None if parameters is None else ParameterCounts(**parameters), **fields)
    row.name, row.depths = str(row.name), tuple(int(depth) for depth in row.depths)
    row.metrics = {str(key): float(value) for key, value in row.metrics.items()}
    row.macs, row.latency, row.memory = int(row.macs), float(row.latency), int(row.memory)
    return row
