"""What one task with one seed of the study came to, as plain data: gathered from its folder, kept in one small file.

The folders of the study are gigabytes and hours; the file is what a later run adds to, and what the tables are made of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common import machine
from depth_study import RULES, Study, curve_name

from mmsls.files.writing import write_json
from mmsls.pruning_index import PruningIndex


@dataclass(frozen=True)
class Decided:
    """A criterion's curve of one stage, and what its rule keeps.

    Attributes:
        kept: How many blocks.
        scores: Score by depth, the first block's first.
        stable: Whether the index called the decision sure; None where it does not say.
        between: The depths that came most often, the shallower first.
    """

    kept: int
    scores: list[float]
    stable: bool | None = None
    between: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Finding:
    """One task with one seed.

    Attributes:
        task, seed, budget: As in the study.
        machine: Device and versions.
        points: Metric on `test` in points, by the model's name.
        curves: By folder; the decision itself under the name `''`, judged on `val`.
    """

    task: str
    seed: int
    budget: float
    machine: str
    points: Mapping[str, float]
    curves: Mapping[str, Decided]

    @property
    def key(self) -> tuple[float, str, int]:
        """What tells findings apart."""
        return self.budget, self.task, self.seed

    @classmethod
    def of(cls, study: Study) -> Finding | None:
        """Gather what is there; None before the decision."""
        if study.index('') is None:
            return None
        names = sorted(path.name for path in study.folder.iterdir() if path.is_dir())
        points = {name: round(value, 3) for name in names if (value := study.points(name)) is not None}
        curves = {name: decided(index) for name in ('', *names) if (index := study.index(name)) is not None}
        return cls(study.task, study.seed, study.budget, machine(), points, curves)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Finding:
        """Read one back."""
        return cls(**{**record, 'curves': {name: Decided(**curve) for name, curve in record['curves'].items()}})

    def first(self) -> Decided | None:
        """Return what a probe kept of the untuned base; None where it was not asked."""
        names = [name for name in self.curves if name.startswith(curve_name('probe', '', True))]
        return self.curves[names[0]] if names else None

    def decision(self, criterion: str) -> Decided | None:
        """Return a criterion's curve of the tuned model on `val`; None where it was not asked."""
        if criterion not in RULES:
            raise KeyError(criterion)
        return self.curves.get('' if criterion == 'bridged' else curve_name(criterion, 'val'))

    def truth(self) -> list[float]:
        """Return what every depth is worth on `test`, bridged; empty where it was not judged."""
        found = self.curves.get(curve_name('bridged', 'test'))
        return found.scores if found else []


def decided(index: PruningIndex) -> Decided:
    """Return an index as a finding holds it."""
    said = index.provenance.get('stability') or {}
    between = [sum(depths) for depths in said.get('between', ())]
    scores = [round(float(score), 3) for score in index.curve.to_lists()[0]]
    return Decided(sum(index.kept_depths), scores, said.get('stable'), between)


def load(path: Path) -> list[Finding]:
    """Read a file of findings; none where there is no file."""
    return [Finding.from_dict(record) for record in json.loads(path.read_text())] if path.exists() else []


def merged(old: Iterable[Finding], new: Iterable[Finding]) -> list[Finding]:
    """Return both; of two with one budget, task and seed, the later one, and what only the earlier has is dropped."""
    found = {finding.key: finding for finding in (*old, *new)}
    return [found[key] for key in sorted(found)]


def save(findings: Iterable[Finding], path: Path) -> None:
    """Write a file of findings, whole or not at all."""
    write_json([asdict(finding) for finding in findings], path)
