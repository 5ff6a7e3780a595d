"""What the study that `right_depth.py` runs found so far, as tables: means and standard deviations over seeds."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean, stdev

from common import show
from depth_findings import Finding
from depth_study import RULES, TASKS
from scipy.stats import spearmanr

BLOCKS = 12
STARTS = ('retrained_cut', 'retrained', 'retrained_refitted', 'retrained_distilled')
"""Models that were trained again, by what they start from."""


def spread(values: list[float], digits: int = 1) -> str:
    """Return a mean and the standard deviation over seeds."""
    if not values:
        return '-'
    around = f' ±{stdev(values):.{digits}f}' if len(values) > 1 else ''
    return f'{mean(values):.{digits}f}{around}'


def show_tables(findings: Iterable[Finding]) -> None:
    """Print every table that has a line, budget by budget."""
    findings = list(findings)
    for budget in sorted({finding.budget for finding in findings}, reverse=True):
        Tables([finding for finding in findings if finding.budget == budget]).show()


class Tables:
    """What a study found so far, as tables: one line a task, means and standard deviations over seeds.

    Args:
        findings: Of one budget, at least one.
    """

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        self.tasks = [task for task in TASKS if self.of(task)]
        self.budget = f'{100 * findings[0].budget:g} % of the training'

    def of(self, task: str, *names: str) -> list[Finding]:
        """Return the findings of a task in which some models were tested."""
        return [one for one in self.findings if one.task == task and all(name in one.points for name in names)]

    def show(self) -> None:
        """Print every table that has a line."""
        self.decisions()
        self.models('nothing retrained', ('tuned', 'pruned', 'bridged'), 'bridged', 'tuned')
        self.models('retrained for as long', ('tuned', 'control', *STARTS), 'retrained', 'control')
        self.first()
        self.by_criterion()
        self.by_depth()

    def print(self, title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        """Print a table that has a line."""
        if rows:
            show(f'{title}, on test ({self.budget})', header, rows)

    def decisions(self) -> None:
        """Print what was kept seed by seed, how sure that is, and what it is worth with nothing retrained."""
        rows = []
        for task in self.tasks:
            for one in self.of(task, 'tuned', 'bridged'):
                made, points = one.curves[''], one.points
                sure = 'yes' if made.stable else f'no: {" or ".join(map(str, made.between))}'
                cells = [f'{points[name]:.1f}' for name in ('tuned', 'pruned', 'bridged')]
                lost = f'{points["tuned"] - points["bridged"]:.1f}'
                rows.append((task, str(one.seed), str(made.kept), sure, *cells, lost))
        self.print('decisions', ('task', 'seed', 'blocks', 'sure', 'tuned', 'cut', 'bridged', 'lost'), rows)

    def models(self, title: str, names: tuple[str, ...], ours: str, against: str) -> None:
        """Print what models are worth, and what one of them loses against another."""
        rows = []
        for task in self.tasks:
            found = self.of(task, ours, against)
            if not found:
                continue
            kept = ' '.join(str(one.curves[''].kept) for one in found)
            values = [spread([one.points[name] for one in found if name in one.points]) for name in names]
            lost = [one.points[against] - one.points[ours] for one in found]
            rows.append((task, str(len(found)), kept, *values, spread(lost), f'{max(lost):.1f}'))
        header = ('task', 'seeds', 'blocks', *(name.replace('retrained_', 'from ') for name in names), 'lost', 'worst')
        self.print(f'{title}; lost = {against} - {ours}', header, rows)

    def first(self) -> None:
        """Print deciding first against tuning first; costs in trainings of all blocks, a block's step being alike."""
        rows = []
        for task in self.tasks:
            found = [(one, first) for one in self.of(task, 'first', 'tuned') if (first := one.first())]
            if not found:
                continue
            kept = ' '.join(str(first.kept) for _, first in found)
            ours = spread([one.points['first'] for one, _ in found])
            tuned = spread([one.points['tuned'] for one, _ in found])
            lost = [one.points['tuned'] - one.points['first'] for one, _ in found]
            after = spread([one.points['retrained'] for one, _ in found if 'retrained' in one.points])
            cost = mean(first.kept for _, first in found) / BLOCKS
            then = 1 + mean(one.curves[''].kept for one, _ in found) / BLOCKS
            costs = (f'{cost:.2f}', '1.00', f'{then:.2f}')
            rows.append((task, kept, ours, tuned, after, spread(lost), f'{max(lost):.1f}', *costs))
        names = ('first', 'tuned', 'tuned, cut, retrained')
        header = ('task', 'blocks', *names, 'lost', 'worst', *(f'cost: {name}' for name in names))
        self.print('decided first (by probe), tuned once; lost = tuned - first', header, rows)

    def by_criterion(self) -> None:
        """Print what every criterion's depth is worth on `test`, bridged, and how its curve ranks the depths."""
        rows = []
        for criterion in RULES:
            for task in self.tasks:
                pairs = [(made, one.truth()) for one in self.of(task) if (made := one.decision(criterion))]
                pairs = [(made, worth) for made, worth in pairs if worth]
                if not pairs:
                    continue
                lost = [worth[-1] - worth[made.kept - 1] for made, worth in pairs]
                rank = [float(spearmanr(made.scores, worth).statistic) for made, worth in pairs]
                kept = ' '.join(str(made.kept) for made, _ in pairs)
                rows.append((criterion, task, kept, spread(lost), f'{max(lost):.1f}', spread(rank, 2)))
        header = ('criterion', 'task', 'blocks', 'lost', 'worst', 'rank correlation')
        self.print('what each criterion keeps, bridged, nothing retrained', header, rows)

    def by_depth(self) -> None:
        """Print the full truth, retrained, beside the bridged metric."""
        rows = []
        for task in self.tasks:
            for kept in range(1, BLOCKS + 1):
                found = self.of(task, f'depth_{kept}')
                plain = spread([one.points[f'depth_{kept}_bridged'] for one in found])
                control = [
                    one.points['control'] - one.points[f'depth_{kept}'] for one in found if 'control' in one.points
                ]
                if found:
                    rows.append(
                        (
                            task,
                            str(kept),
                            plain,
                            spread([one.points[f'depth_{kept}'] for one in found]),
                            spread(control),
                        )
                    )
        self.print('every depth; lost = control - retrained', ('task', 'blocks', 'bridged', 'retrained', 'lost'), rows)
