"""The whole chain by config: tune, score, prune, retrain, evaluate; resumable at each stage."""

from __future__ import annotations

import hashlib
import shutil
from copy import deepcopy
from dataclasses import asdict
from itertools import count
from logging import WARNING
from pathlib import Path
from typing import Any, Protocol

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmsls import runs
from mmsls.block_scorer import find_backbone, scorer_options
from mmsls.chain_configs import check_decision, full_cfg, identity, without_sls_hook
from mmsls.deploy.task_folder import pack
from mmsls.files.reading import read_json
from mmsls.files.writing import write_json
from mmsls.measuring import Row, first_images, measure, measure_training
from mmsls.pruning_index import PruningIndex
from mmsls.report.score_curve import draw_score_curve

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
