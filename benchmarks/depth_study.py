"""One task with one seed of the study that `right_depth.py` runs: its phases, and what they found."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config

from mmsls import runs
from mmsls.chain.chain import Chain
from mmsls.chain.configs import scored_by, taught_by, without_bridge, without_sls_hook
from mmsls.chain.stages import RunnerObserver
from mmsls.features.trial import headline, is_share
from mmsls.pruning_index import PruningIndex
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
        budget: Share of the config's epochs or iterations that every training gets, 0 < budget <= 1.
    """

    def __init__(self, task: str, seed: int, root: Path, progress: ChainProgress, budget: float = 1.0) -> None:
        self.task, self.seed, self.budget = task, seed, budget
        tune = runs.load_config(TASKS[task], str(root / f'{task}_{seed}'), {'randomness.seed': seed})
        shorten(tune, budget)
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
        """Retrain from the bridges, and train the full depth on for as long."""
        cfg = self.chain.pruned_cfg()
        self.trained('retrained', cfg, str(self.folder / 'bridged' / 'bridged.pth'))
        self.trained('control', self.bare, cfg.load_from)

    def unbridged(self) -> None:
        """Retrain from the bare cut, without bridges."""
        cfg = self.chain.pruned_cfg()
        self.trained('retrained_cut', without_bridge(cfg), cfg.load_from)

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


def shorten(cfg: Config, budget: float) -> None:
    """Cut a training and its schedule to a share of their length, in place; it is validated at its end alone."""
    length = 'max_epochs' if 'max_epochs' in cfg.train_cfg else 'max_iters'
    whole = cfg.train_cfg[length]
    cut = max(1, round(whole * budget))
    cfg.train_cfg.update({length: cut, 'val_interval': cut})
    for part in cfg.param_scheduler:
        part.update({name: cut for name in ('end', 'T_max') if part.get(name) == whole})
    interval = cfg.default_hooks.checkpoint.get('interval', 1)
    cfg.default_hooks.checkpoint.interval = min(interval, cut)


def curve_name(criterion: str, split: str, untuned: bool = False) -> str:
    """Return the folder of a criterion's curve."""
    return f'{criterion}_{"untuned_" if untuned else ""}{split}'
