"""The whole chain by config: tune, score, prune, retrain, evaluate; resumable at each stage."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from logging import WARNING
from pathlib import Path
from typing import Any, Protocol

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from mmsls import runs
from mmsls.block_scorer import find_backbone
from mmsls.complexity import ParameterCounts, count_macs, count_parameters, latencies, training_bytes
from mmsls.deploy.task_folder import pack
from mmsls.hooks.sls_hook import scorer_options
from mmsls.json_files import read_json, write_json
from mmsls.pruning_index import PruningIndex
from mmsls.report.score_curve import draw_score_curve
from mmsls.scoring.rule import RULE_OPTIONS, check_options

INDEX_FILE, CURVE_FILE = 'pruning_index.json', 'score_curve.png'
DONE_FILE, STATE_FILE = 'done.json', 'chain.json'
_NAMES = count()


class Progress(Protocol):
    """Who shows how far the chain is."""

    def stage(self, name: str, reused: bool) -> RunnerObserver:
        """A stage begins, or is taken from an earlier run; the answer watches its runner."""


class RunnerObserver(Protocol):
    """Who watches one stage."""

    def prepare(self, runner: Runner) -> None:
        """See a runner before it starts."""

    def on_batch(self, done: int, total: int) -> None:
        """See scoring advance."""


@dataclass
class Row:
    """One line of the final table.

    Attributes:
        name: `full`, `tuned`, `pruned` or `retrained`.
        depths: Blocks per stage.
        metrics: Test metrics, empty where nothing was trained.
        parameters: Total, trained and stored numbers.
        macs: Multiply-accumulates of one test image.
        latency: Median seconds of one test image, all rows in turns in one process.
        memory: Bytes that a training step on two images adds to the model's own (`training_bytes`); 0 where it could not be measured.
    """

    name: str
    depths: tuple[int, ...]
    metrics: dict[str, float] = field(default_factory=dict)
    parameters: ParameterCounts | None = None
    macs: int = 0
    latency: float = 0.0
    memory: int = 0


class Chain:
    """Tune, score, prune, retrain and evaluate one config.

    Every stage leaves its result under `work_dir` and is skipped when it is there already; an interrupted training resumes.

    Args:
        tune: Config that tunes adapters at full depth on a frozen base.
        work_dir: Where everything goes.
        progress: Who shows how far it is.
        pruned: Config of the retraining; by default `tune` with the index in place of its `SLSHook`.
        baseline: Config of the frozen backbone with a trained head, for the row `full`; without it that row has no metric.
        decision: Settings of the rule that override the config's (`alpha`, `scope`, `min_depth`, `reference`); None leaves one as it is.
            They may change until something was pruned.

    Raises:
        ValueError: If a setting of the rule is out of range, or the work directory holds a run of other configs, or an index that no chain wrote.
    """

    def __init__(
        self,
        tune: Config,
        work_dir: str | Path,
        progress: Progress,
        pruned: Config | None = None,
        baseline: Config | None = None,
        decision: dict[str, Any] | None = None,
    ) -> None:
        self.work_dir, self.progress = Path(work_dir), progress
        self.tune, self.baseline, self.decision = tune, baseline, decision or {}
        self.pruned = pruned if pruned is not None else without_sls_hook(tune)
        self.index_path = self.work_dir / INDEX_FILE
        check_decision(tune, self.decision)
        self._check_unchanged()

    def run(self, until_score: bool = False) -> list[Row]:
        """Run what is left of the chain and return the table's rows.

        Args:
            until_score: Stop when the index is written and the score curve drawn; the next call goes on.

        Raises:
            ValueError: If other settings of the rule keep other blocks than those that were retrained here.
        """
        rows = [self._full(), self._tuned()]
        index = self._scored()
        if until_score:
            self._measure(rows)
            return rows
        if any(kept != depth for kept, depth in zip(index.kept_depths, index.backbone['depths'], strict=True)):
            rows += [self._evaluated('pruned', self._pruned_cfg(), self._checkpoint('tuned')), self._retrained()]
        self._measure(rows)
        if is_main_process():
            write_json([asdict(row) for row in rows], self.work_dir / 'results.json')
            self._store_task('retrained' if len(rows) > 2 else 'tuned')
        return rows

    # Stages.

    def _full(self) -> Row:
        cfg = self.baseline if self.baseline is not None else full_cfg(self.tune)
        if self.baseline is None:
            return Row('full', self._depths(cfg))
        self._train('full', cfg)
        return self._evaluated('full', cfg, self._checkpoint('full'))

    def _tuned(self) -> Row:
        self._train('tuned', self.tune)
        return self._evaluated('tuned', without_sls_hook(self.tune), self._checkpoint('tuned'))

    def _scored(self) -> PruningIndex:
        observer = self.progress.stage('score', self.index_path.exists())
        if not self.index_path.exists():
            written = self._dir('tuned') / runs.sls_settings(self.tune).get('out_file', INDEX_FILE)
            split = runs.default_split(self.tune)
            if split == 'val' and written.exists() and not self._has_best('tuned'):
                # The hook scored the very weights that are evaluated, during their last validation.
                if is_main_process():
                    PruningIndex.load(written).save(self.index_path)
            else:
                cfg = self._in('score', self.tune)
                runs.score(cfg, self._checkpoint('tuned'), split, self.index_path, observer.prepare, observer.on_batch)
        barrier()
        stored = PruningIndex.load(self.index_path)
        index = stored.decide(**self._decision())
        self._check_depths(index, stored)
        barrier()
        if is_main_process():
            index.save(self.index_path)
            draw_score_curve(index, self.work_dir / CURVE_FILE)
        barrier()
        return index

    def _check_depths(self, index: PruningIndex, stored: PruningIndex) -> None:
        """Refuse to test, measure or store what was pruned and retrained to other depths; the index file may have been edited since."""
        state = read_json(self.work_dir / STATE_FILE)
        pruned_to = tuple(state.get('pruned_to', stored.kept_depths))
        if pruned_to != index.kept_depths and any(self._dir(name).exists() for name in ('pruned', 'retrained')):
            raise ValueError(
                f'work_dir {str(self.work_dir)!r} holds a model pruned to {pruned_to}, these settings keep {index.kept_depths}; remove its '
                "folders 'pruned' and 'retrained', or copy the rest of it to another work_dir"
            )
        barrier()
        if is_main_process():
            write_json({**state, 'pruned_to': list(index.kept_depths)}, self.work_dir / STATE_FILE)
        barrier()

    def _decision(self) -> dict[str, Any]:
        """Return the settings that override; a scope brings its own `min_depth` along, as it does everywhere else."""
        decision = dict(self.decision)
        if decision.get('scope') is not None:
            settings, scope = runs.sls_settings(self.tune), self.tune.get('default_scope')
            decision['min_depth'] = scorer_options(settings, scope, decision)['min_depth']
        return decision

    def _retrained(self) -> Row:
        cfg = self._pruned_cfg()
        self._train('retrained', cfg)
        return self._evaluated('retrained', cfg, self._checkpoint('retrained'))

    # Steps of a stage.

    def _train(self, name: str, cfg: Config) -> None:
        done = self._dir(name) / DONE_FILE
        observer = self.progress.stage(name, done.exists())
        if done.exists():
            return
        cfg = self._in(name, cfg)
        last = self._last_checkpoint(name)
        if last is not None:
            cfg.resume, cfg.load_from = True, last
        runs.train(cfg, observer.prepare)
        if is_main_process():
            write_json({'checkpoint': self._chosen(name)}, done)
        barrier()

    def _evaluated(self, name: str, cfg: Config, checkpoint: str) -> Row:
        path = self._dir(name) / 'metrics.json'
        observer = self.progress.stage(f'{name}: test', path.exists())
        if not path.exists():
            metrics = runs.test(self._in(name, cfg), checkpoint, observer.prepare)
            if is_main_process():
                write_json(metrics, path)
            barrier()
        return Row(name, self._depths(cfg), read_json(path))

    def _measure(self, rows: list[Row]) -> None:
        self.progress.stage('measure', False)
        models = [runs.build_model(self._cfg_of(row.name), self._weights_of(row)).to(get_device()) for row in rows]
        if is_main_process():
            measure(rows, models, first_images(self.tune, 'test'))
        barrier()
        # In every process: a loss may wait for what the other processes give.
        measure_training(rows, models, first_images(self.tune, 'train', 2))
        barrier()

    def _store_task(self, name: str) -> None:
        """Pack what one task stores into a folder that `TaskLibrary` and `tools/unpack.py` open; a complete checkpoint has no such part."""
        folder = self.work_dir / 'task'
        shutil.rmtree(folder, ignore_errors=True)
        try:
            pack(self._cfg_of(name), self._checkpoint(name), folder, self.index_path, self.work_dir.resolve().name)
        except ValueError as error:
            print_log(f'{folder} is not written: {error}', 'current', WARNING)

    # Configs and files.

    def _dir(self, name: str) -> Path:
        return self.work_dir / name

    def _in(self, name: str, cfg: Config) -> Config:
        """Return a copy of a config that works in its stage's folder, under a name of its own."""
        cfg = deepcopy(cfg)
        cfg.work_dir, cfg.experiment_name = str(self._dir(name)), name
        if cfg.get('visualizer'):
            # Hosts call theirs 'visualizer', and mmengine 0.10 hands a second runner of that name the first one's files.
            cfg.visualizer.name = f'{name}_{next(_NAMES)}'
        return cfg

    def _pruned_cfg(self) -> Config:
        cfg = deepcopy(self.pruned)
        cfg.model.backbone.pruning_index = str(self.index_path)
        cfg.load_from = self._checkpoint('tuned')
        return cfg

    def _cfg_of(self, name: str) -> Config:
        if name == 'full':
            return self.baseline if self.baseline is not None else full_cfg(self.tune)
        return self.tune if name == 'tuned' else self._pruned_cfg()

    def _weights_of(self, row: Row) -> str | None:
        if not row.metrics:
            return None
        return self._checkpoint('tuned' if row.name == 'pruned' else row.name)

    def _depths(self, cfg: Config) -> tuple[int, ...]:
        return find_backbone(runs.build_model(cfg)).kept_depths

    def _checkpoint(self, name: str) -> str:
        return self._found(name, read_json(self._dir(name) / DONE_FILE)['checkpoint'])

    def _last_checkpoint(self, name: str) -> str | None:
        """Return what a training left to go on from; MMEngine may be stopped after removing a checkpoint and before writing the next."""
        pointer = self._dir(name) / 'last_checkpoint'
        path = self._found(name, pointer.read_text().strip()) if pointer.exists() else ''
        return path if path and Path(path).exists() else None

    def _found(self, name: str, path: str) -> str:
        """Return a file's path, in its stage's folder where that was moved since."""
        return path if Path(path).exists() else str(self._dir(name) / Path(path).name)

    def _has_best(self, name: str) -> bool:
        return Path(self._checkpoint(name)).name.startswith('best_')

    def _chosen(self, name: str) -> str:
        """Return the checkpoint that counts: the best on validation where the config saves it, else the last."""
        best = sorted(self._dir(name).glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
        return str(best[-1]) if best else (self._dir(name) / 'last_checkpoint').read_text().strip()

    def _check_unchanged(self) -> None:
        """Refuse to mix results of different configs in one folder; where nothing came of the earlier run, take the folder over."""
        texts = [identity(cfg) if cfg is not None else '' for cfg in (self.tune, self.pruned, self.baseline)]
        ours = hashlib.sha256('\n'.join(texts).encode()).hexdigest()
        path = self.work_dir / STATE_FILE
        state = read_json(path) if path.exists() and self._has_results() else {}
        if state and state['configs'] != ours:
            raise ValueError(
                f'work_dir {str(self.work_dir)!r} holds a run of other configs; give another one, or remove it (run_sls.py '
                '--restart)'
            )
        if not path.exists() and self.index_path.exists():
            raise ValueError(
                f'work_dir {str(self.work_dir)!r} holds a {INDEX_FILE} that this chain did not write; give another one, or remove it (run_sls.py '
                '--restart)'
            )
        barrier()
        if is_main_process():
            self.work_dir.mkdir(parents=True, exist_ok=True)
            write_json({**state, 'configs': ours}, path)
        barrier()

    def _has_results(self) -> bool:
        return self.index_path.exists() or any(self.work_dir.glob('*/last_checkpoint'))


def check_decision(tune: Config, decision: Mapping[str, Any]) -> None:
    """Refuse settings of the rule that are out of range, the config's own or those that override them.

    Raises:
        ValueError: Naming the setting.
    """
    settings = scorer_options(runs.sls_settings(tune), tune.get('default_scope'), decision)
    check_options(**{name: value for name, value in settings.items() if name in RULE_OPTIONS})


def identity(cfg: Config) -> str:
    """Return a config's text without what changes no result: launcher, work directory, how data are brought in and how their folder is spelled."""
    cfg = deepcopy(cfg)
    for name in ('launcher', 'work_dir'):
        cfg.pop(name, None)
    for loader in [value for key, value in cfg.items() if key.endswith('_dataloader') and value]:
        spell_out(loader)
        for name in ('num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor'):
            loader.pop(name, None)
    return cfg.pretty_text


def spell_out(part: Any) -> None:
    """Make every local `data_root` absolute, in place."""
    if isinstance(part, dict):
        root = part.get('data_root')
        if isinstance(root, str) and '://' not in root:
            part['data_root'] = str(Path(root).expanduser().resolve())
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        spell_out(inner)


def without_sls_hook(cfg: Config) -> Config:
    """Return a copy of a config that does not score."""
    cfg = deepcopy(cfg)
    hooks = cfg.get('custom_hooks') or []
    cfg.custom_hooks = [hook for hook in hooks if str(hook.get('type')).removeprefix('mmsls.') != 'SLSHook']
    return cfg


def full_cfg(cfg: Config) -> Config:
    """Return a copy of a config with the frozen backbone at full depth and no adapter."""
    cfg = without_sls_hook(cfg)
    cfg.model.backbone.pop('adapter', None)
    return cfg


def measure(rows: Sequence[Row], models: Sequence[nn.Module], batch: Any) -> None:
    """Fill in what each row's model costs: parameters, and multiply-accumulates and latency on a batch, all models in turns."""
    forwards: dict[str, Callable[[], object]] = {}
    for row, model in zip(rows, models, strict=True):
        forwards[row.name] = partial(run_once, model, batch)
        row.parameters, row.macs = count_parameters(model), count_macs(forwards[row.name])
    seconds = latencies(forwards)
    for row in rows:
        row.latency = seconds[row.name]


def measure_training(rows: Sequence[Row], models: Sequence[nn.Module], batch: Any) -> None:
    """Fill in the memory that a training step of each row's model takes on a batch; normalisation layers see that batch."""
    for row, model in zip(rows, models, strict=True):
        try:
            row.memory = training_bytes(model.train(), partial(losses, model, batch))
        except Exception as error:  # a loss may refuse two images, the device lack room; no reason to lose the table
            print_log(f'{row.name}: the memory of a training step was not measured: {error}', 'current', WARNING)


def losses(model: Any, batch: Any) -> Any:
    """Return the losses of a training step on a batch that stays as it is."""
    return model(**model.data_preprocessor(deepcopy(batch), training=True), mode='loss')


@torch.no_grad()
def run_once(model: Any, batch: Any) -> None:
    """Run a model on a batch that stays as it is (data preprocessors work in place)."""
    model.test_step(deepcopy(batch))


def first_images(cfg: Config, split: str, count: int = 1) -> Any:
    """Return the first images of a split as one batch."""
    runs.init_default_scope(cfg.get('default_scope', 'mmengine'))
    loader = deepcopy(cfg[f'{split}_dataloader'])
    loader.batch_size, loader.num_workers, loader.persistent_workers, loader.drop_last = count, 0, False, False
    loader.pop('prefetch_factor', None)
    # Without a seed, samplers agree on one with the other processes.
    return next(iter(Runner.build_dataloader(loader, seed=0)))
