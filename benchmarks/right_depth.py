"""Is the depth right? Four tasks on real images, several seeds, one setting: what a cut loses, and what gives it back.

    OMP_NUM_THREADS=1 python benchmarks/right_depth.py --tasks camvid bccd sign_digits digits --seeds 0 1 2 --work-dir
    work_dirs/right_depth

One phase after the other (`--phases`), each over all tasks and seeds:

    decided    tune; decide by the criterion bridged at max_drop 1 on `val`; test the cut model, and the bridged one
    truth      every depth bridged, nothing retrained, on `test`: what any other criterion's choice would have given
    criteria   the other criteria's curves of the tuned model on `val`
    retrained  the cut model retrained from its bridges, and as it was cut; the full depth trained on for as long
    refitted   the same with the head's last layer fitted anew
    distilled  from the bridges, the tuned model's features a second target
    first      the untuned base scored by a probe, and tuned once, at the depth that this keeps
    depths     the full truth: every depth of `--depths` retrained from its bridges

What is there is kept: an interrupted study goes on, and `--tables` only prints what was found so far.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from statistics import mean, stdev

from common import show
from mmengine.config import Config
from scipy.stats import spearmanr

from mmsls import runs
from mmsls.chain.chain import Chain
from mmsls.chain.configs import scored_by, taught_by, without_bridge, without_sls_hook
from mmsls.chain.stages import RunnerObserver
from mmsls.features.trial import headline, is_share
from mmsls.pruning_index import PruningIndex
from mmsls.report.console_log import terminal
from mmsls.report.progress import ChainProgress
from mmsls.runs.configs import with_bridge, with_distill

TASKS = {
    'camvid': 'configs/camvid/tune.py',
    'bccd': 'configs/bccd_deit/tune.py',
    'sign_digits': 'configs/cls/holdout/sign_digits.py',
    'digits': 'configs/cls/holdout/digits.py',
}
MAX_DROP = 1.0
RULES: dict[str, dict[str, object]] = {
    'bridged': {'max_drop': MAX_DROP},
    'probe': {'max_drop': MAX_DROP},
    'ncm': {'max_drop': MAX_DROP},
    'knn': {'max_drop': MAX_DROP},
    'logme': {'reference': 'peak', 'alpha': 1.0},
    'hscore': {'reference': 'peak', 'alpha': 1.0},
    'sls': {'alpha': 0.3},
}
"""One setting of every criterion for all tasks."""


class Study:
    """One task with one seed.

    Args:
        task: Name of the task.
        seed: Seed of everything that is drawn.
        root: Where the study's results go.
        progress: Who shows how far it is.
    """

    def __init__(self, task: str, seed: int, root: Path, progress: ChainProgress) -> None:
        tune = runs.load_config(TASKS[task], str(root / f'{task}_{seed}'), {'randomness.seed': seed})
        self.bare = without_sls_hook(tune)
        self.scored = scored_by(tune, 'bridged')
        decision = dict(RULES['bridged'])
        self.chain = Chain(self.scored, Path(tune.work_dir), progress, with_bridge(self.bare), decision=decision)
        self.stages, self.folder = self.chain.stages, Path(tune.work_dir)

    # Phases.

    def decided(self) -> None:
        """Tune, decide, cut and bridge."""
        self.chain.run(until_score=True)
        cfg = self.chain.pruned_cfg()
        self.stages.test('pruned', without_bridge(cfg), cfg.load_from)
        self.fitted('bridged', cfg, runs.bridge)

    def truth(self) -> None:
        """Judge every depth, bridged, on `test`."""
        self.curve('bridged', 'test')

    def criteria(self) -> None:
        """Score by every other criterion, on `val`."""
        for name in RULES:
            if name != 'bridged':
                self.curve(name, 'val')

    def retrained(self) -> None:
        """Retrain from the bridges and from the bare cut, and train the full depth on."""
        cfg = self.chain.pruned_cfg()
        self.trained('retrained', cfg, str(self.folder / 'bridged' / 'bridged.pth'))
        self.trained('retrained_cut', without_bridge(cfg), cfg.load_from)
        self.trained('control', self.bare, cfg.load_from)

    def refitted(self) -> None:
        """Retrain from a head that was refitted after the cut."""
        cfg = without_bridge(self.chain.pruned_cfg())
        self.trained('retrained_refitted', cfg, self.fitted('refitted', cfg, runs.refit))

    def distilled(self) -> None:
        """Retrain from the bridges with the tuned model as the teacher."""
        cfg = with_distill(self.chain.pruned_cfg())
        cfg = taught_by(cfg, self.stages.checkpoint('tuned'))
        self.trained('retrained_distilled', cfg, str(self.folder / 'bridged' / 'bridged.pth'))

    def first(self) -> None:
        """Score the untuned base by a probe, and tune at what it keeps."""
        index = self.curve('probe', runs.default_split(self.scored, {'criterion': 'probe'}), untuned=True)
        self.trained('first', self.at(index.kept_depths), None)

    def depth(self, kept: int) -> None:
        """Retrain one depth from its bridges."""
        cfg = with_bridge(self.at((kept,)))
        cfg.load_from = self.stages.checkpoint('tuned')
        name = f'depth_{kept}'
        self.trained(name, cfg, self.fitted(f'{name}_bridged', cfg, runs.bridge))

    # Their parts.

    def at(self, kept: tuple[int, ...]) -> Config:
        """Return the config of one depth."""
        cfg = deepcopy(self.bare)
        cfg.model.backbone.kept_depths = kept
        return cfg

    def trained(self, name: str, cfg: Config, start: str | None) -> None:
        """Train from some weights, and test."""
        cfg = deepcopy(cfg)
        cfg.load_from = start
        self.stages.test(name, cfg, self.stages.train(name, cfg))

    def fitted(self, name: str, cfg: Config, fit: Callable[..., object]) -> str:
        """Fit something in closed form, test it, and return the checkpoint."""
        self.stages.state.own(name)
        path = self.stages.folder(name) / f'{name}.pth'

        def work(observer: RunnerObserver) -> None:
            fit(cfg, cfg.load_from, path, on_batch=observer.on_batch)

        self.stages.once(f'{name}: fit', path, work)
        self.stages.test(name, cfg, str(path))
        return str(path)

    def curve(self, criterion: str, split: str, untuned: bool = False) -> PruningIndex:
        """Score by a criterion, once."""
        name = curve_name(criterion, split, untuned)
        path = self.stages.folder(name) / 'pruning_index.json'

        def work(observer: RunnerObserver) -> None:
            cfg = self.stages.settled(name, scored_by(self.scored, criterion))
            checkpoint = None if untuned else self.stages.checkpoint('tuned')
            runs.score(cfg, checkpoint, split, path, observer.prepare, observer.on_batch, **RULES[criterion])

        self.stages.once(name, path, work)
        return PruningIndex.load(path)

    # What was found.

    def points(self, name: str) -> float | None:
        """Return a stage's metric on `test` in points; None where it was not tested."""
        metrics = self.stages.metrics(name)
        if metrics is None:
            return None
        key = headline(metrics)
        assert key is not None
        return metrics[key] * (100 if is_share(key) else 1)

    def index(self, name: str) -> PruningIndex | None:
        """Return a stage's index; None where there is none."""
        path = self.stages.folder(name) / 'pruning_index.json' if name else self.chain.index_path
        return PruningIndex.load(path) if path.exists() else None


def curve_name(criterion: str, split: str, untuned: bool = False) -> str:
    """Return the folder of a criterion's curve."""
    return f'{criterion}_{"untuned_" if untuned else ""}{split}'


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


def truths(study: Study, depths: list[int]) -> None:
    """Retrain every depth of some."""
    for kept in depths:
        study.depth(kept)


PHASES: dict[str, Callable[[Study, list[int]], None]] = {
    'decided': lambda study, _: study.decided(),
    'truth': lambda study, _: study.truth(),
    'criteria': lambda study, _: study.criteria(),
    'retrained': lambda study, _: study.retrained(),
    'refitted': lambda study, _: study.refitted(),
    'distilled': lambda study, _: study.distilled(),
    'first': lambda study, _: study.first(),
    'depths': truths,
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tasks', nargs='+', choices=TASKS, default=[], help='which tasks; each takes about an hour')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--phases', nargs='+', choices=PHASES, default=['decided', 'truth', 'retrained', 'criteria'])
    parser.add_argument('--depths', nargs='+', type=int, default=[1, 3, 5, 7, 9, 11], help='of the phase depths')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/right_depth'))
    parser.add_argument('--tables', action='store_true', help='only print what was found so far')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    with ChainProgress(terminal(), args.work_dir / f'console_{"_".join(args.tasks)}.log') as progress:
        make = partial(Study, root=args.work_dir, progress=progress)
        studies = {(task, seed): make(task, seed) for seed in args.seeds for task in args.tasks}
        for phase in () if args.tables else args.phases:
            for study in studies.values():
                PHASES[phase](study, args.depths)
    Tables(studies).show()


if __name__ == '__main__':
    main()
