"""What the study that `right_depth.py` runs found so far, as tables: means and standard deviations over seeds."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean, stdev

from common import show
from depth_study import RULES, Study, curve_name
from scipy.stats import spearmanr

from mmsls import runs
from mmsls.pruning_index import PruningIndex


def spread(values: list[float], digits: int = 1) -> str:
    """Return a mean and the standard deviation over seeds."""
    if not values:
        return '-'
    around = f' ±{stdev(values):.{digits}f}' if len(values) > 1 else ''
    return f'{mean(values):.{digits}f}{around}'


class Tables:
    """What a study found so far, as tables: one line a task, means and standard deviations over seeds.

    Args:
        studies: Every task with every seed.
    """

    def __init__(self, studies: dict[tuple[str, int], Study]) -> None:
        self.studies = studies
        self.tasks = list(dict.fromkeys(task for task, _ in studies))

    def of(self, task: str) -> list[Study]:
        """Return the studies of a task that came to a decision."""
        return [study for (name, _), study in self.studies.items() if name == task and study.index('')]

    def show(self) -> None:
        """Print every table that has a line."""
        self.models('nothing retrained, test', ('tuned', 'pruned', 'bridged'), 'bridged', 'tuned')
        starts = ('retrained_cut', 'retrained', 'retrained_refitted', 'retrained_distilled')
        self.models('retrained for as long, test', ('tuned', 'control', *starts), 'retrained', 'control')
        self.by_criterion()
        self.models('decided first, test', ('tuned', 'first', 'retrained'), 'first', 'tuned')
        self.by_depth()

    def models(self, title: str, names: tuple[str, ...], ours: str, against: str) -> None:
        """Print what models are worth, and what one of them loses against another."""
        rows = []
        for task in self.tasks:
            studies = [one for one in self.of(task) if one.points(ours) is not None and one.points(against) is not None]
            if not studies:
                continue
            kept = [self.kept(study, ours) for study in studies]
            values = [spread([value for one in studies if (value := one.points(name)) is not None]) for name in names]
            lost = [one.points(against) - one.points(ours) for one in studies]  # type: ignore[operator]
            rows.append((task, str(len(studies)), ' '.join(map(str, kept)), *values, spread(lost), f'{max(lost):.1f}'))
        if rows:
            header = ('task', 'seeds', 'blocks', *(name.replace('retrained_', 'from ') for name in names))
            show(f'{title}; lost = {against} - {ours}', (*header, 'lost', 'worst'), rows)

    def kept(self, study: Study, name: str) -> int:
        """Return how many blocks a model keeps."""
        split = runs.default_split(study.scored, {'criterion': 'probe'})
        index = study.index(curve_name('probe', split, True) if name == 'first' else '')
        assert index is not None
        return sum(index.kept_depths)

    def by_criterion(self) -> None:
        """Print what every criterion's depth is worth on `test`, bridged, and how its curve ranks the depths."""
        rows = []
        for criterion in RULES:
            for task in self.tasks:
                pairs = list(self.pairs(criterion, task))
                if not pairs:
                    continue
                lost, rank = [], []
                for index, truth in pairs:
                    worth = truth.curve.to_lists()[0]
                    lost.append(worth[-1] - worth[sum(index.kept_depths) - 1])
                    rank.append(float(spearmanr(index.curve.to_lists()[0], worth).statistic))
                kept = ' '.join(str(sum(index.kept_depths)) for index, _ in pairs)
                rows.append((criterion, task, kept, spread(lost), f'{max(lost):.1f}', spread(rank, 2)))
        if rows:
            header = ('criterion', 'task', 'blocks', 'lost', 'worst', 'rank correlation')
            show('what each criterion keeps, bridged, nothing retrained, test', header, rows)

    def pairs(self, criterion: str, task: str) -> Iterator[tuple[PruningIndex, PruningIndex]]:
        """Yield a criterion's index and the truth, seed by seed."""
        for study in self.of(task):
            index = study.index('' if criterion == 'bridged' else curve_name(criterion, 'val'))
            truth = study.index(curve_name('bridged', 'test'))
            if index and truth:
                yield index, truth

    def by_depth(self) -> None:
        """Print the full truth, retrained, beside the bridged metric."""
        rows = []
        for task in self.tasks:
            for kept in range(1, 13):
                values = [value for one in self.of(task) if (value := one.points(f'depth_{kept}')) is not None]
                plain = [value for one in self.of(task) if (value := one.points(f'depth_{kept}_bridged')) is not None]
                if values:
                    rows.append((task, str(kept), spread(plain), spread(values)))
        if rows:
            show('every depth, test', ('task', 'blocks', 'bridged', 'retrained'), rows)
