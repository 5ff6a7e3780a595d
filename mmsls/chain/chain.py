"""The whole chain by config: tune, score, prune, retrain, evaluate; resumable at each stage."""

from __future__ import annotations

import hashlib
import secrets
from copy import deepcopy
from dataclasses import asdict
from itertools import count
from logging import WARNING
from pathlib import Path
from typing import Any, Protocol

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import barrier, broadcast_object_list, is_main_process
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmsls import runs
from mmsls.chain.checks import check_builds, check_configs, with_test
from mmsls.chain.configs import check_decision, essential_text, full_cfg, without_sls_hook
from mmsls.chain.state import CURVE_FILE, INDEX_FILE, MARKS, RESULTS, TASK, ChainState
from mmsls.chain.task import replace_task
from mmsls.cost.measuring import Row, first_images, measure, measure_training
from mmsls.deploy.task_folder import pack
from mmsls.features.scorer import find_backbone, scorer_options
from mmsls.files.reading import read_json
from mmsls.files.trouble import naming
from mmsls.files.writing import write_json
from mmsls.pruning_index import PruningIndex
from mmsls.report.score_curve import draw_score_curve
from mmsls.runs.resuming import checkpoint_hooks, chosen_checkpoint, digest_of, last_checkpoint

DONE_FILE = 'done.json'
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

    Every stage leaves its result under `work_dir` and is skipped when it is there already; an interrupted training resumes, and ends as one
    that was not interrupted. `chain.json` there records what the chain writes; nothing else is ever replaced or removed. What a config
    lacks is refused before anything is trained; one without a test part is tested on its validation images (`tested_on`).

    Args:
        tune: Config that tunes adapters at full depth on a frozen base.
        work_dir: Where everything goes.
        progress: Who shows how far it is.
        pruned: Config of the retraining; by default `tune` with the index in place of its `SLSHook`.
        baseline: Config of the frozen backbone with a trained head, for the row `full`; without it that row has no metric.
        decision: Settings of the rule that override the config's (`alpha`, `scope`, `min_depth`, `reference`); None leaves one as it is.
            They may change until something was pruned.

    Raises:
        ValueError: If a setting of the rule is out of range, a config lacks a part, or the work directory holds a run of other configs, or files
            that no chain wrote.
        OSError: If the work directory cannot be written.
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
        self.work_dir, self.progress, self.decision = Path(work_dir).expanduser(), progress, decision or {}
        self.index_path = self.work_dir / INDEX_FILE
        pruned = pruned if pruned is not None else without_sls_hook(tune)
        check_decision(tune, self.decision)
        check_configs(tune, pruned, baseline)
        self.tested_on = 'test' if tune.get('test_dataloader') is not None else 'val'
        self.tune, self.pruned = with_test(tune), with_test(pruned)
        self.baseline = with_test(baseline) if baseline is not None else None
        self.state, self.seen = ChainState(self.work_dir), set[str]()
        with naming(self.work_dir):
            self._check_unchanged((tune, pruned, baseline))

    def run(self, until_score: bool = False) -> list[Row]:
        """Run what is left of the chain and return the table's rows.

        Args:
            until_score: Stop when the index is written and the score curve drawn; the next call goes on.

        Raises:
            ValueError: If other settings of the rule keep other blocks than those that were retrained here.
        """
        with naming(self.work_dir):
            return self._run(until_score)

    def _run(self, until_score: bool) -> list[Row]:
        self._check_later_stages()
        self.state.own(*RESULTS, TASK)
        rows = [self._full(), self._tuned()]
        index = self._scored()
        if until_score:
            self._measure(rows)
            return rows
        if any(kept != depth for kept, depth in zip(index.kept_depths, index.backbone['depths'], strict=True)):
            rows += [self._evaluated('pruned', self._pruned_cfg(), self._checkpoint('tuned')), self._retrained()]
        self._measure(rows)
        if is_main_process():
            write_json([asdict(row) for row in rows], self.work_dir / RESULTS[0])
            self._store_task('retrained' if len(rows) > 2 else 'tuned')
        barrier()
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
        self.state.own_file(INDEX_FILE)
        self.state.own_file(CURVE_FILE)
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
        pruned_to = tuple(self.state.content.get('pruned_to', stored.kept_depths))
        if pruned_to != index.kept_depths and any(self._dir(name).exists() for name in ('pruned', 'retrained')):
            raise ValueError(
                f'work_dir {str(self.work_dir)!r} holds a model pruned to {pruned_to}, these settings keep {index.kept_depths}; remove its '
                "folders 'pruned' and 'retrained', or copy the rest of it to another work_dir"
            )
        self.state.save(pruned_to=list(index.kept_depths))

    def _decision(self) -> dict[str, Any]:
        """Return the settings that override; a scope brings its own `min_depth` along, as it does everywhere else."""
        decision = dict(self.decision)
        if decision.get('scope') is not None:
            settings, scope = runs.sls_settings(self.tune), self.tune.get('default_scope')
            decision['min_depth'] = scorer_options(settings, scope, decision)['rule'].min_depth
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
        cfg = keeping_two(self._in(name, cfg))
        last = self._last_checkpoint(name)
        barrier()  # every process has looked before one of them writes
        if last is not None:
            cfg.resume, cfg.load_from = True, last
        runner = runs.train(cfg, observer.prepare)
        if is_main_process():
            found = chosen_checkpoint(runner)
            if found is None:
                raise RuntimeError(
                    f'{name}: the training left no checkpoint in {str(self._dir(name))!r}; was it removed?'
                )
            write_json({'checkpoint': found[0], 'best': found[1], 'sha256': digest_of(found[0])}, done)
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
            # Without a baseline, the head of the row `full` is random.
            measure(rows, models, first_images(self.tune, 'test'), timed=[row.name for row in rows if row.metrics])
        barrier()
        # In every process: a loss may wait for what the other processes give.
        measure_training(rows, models, first_images(self.tune, 'train', 2))
        barrier()

    def _store_task(self, name: str) -> None:
        """Pack what one task stores into a folder that `TaskLibrary` and `tools/unpack.py` open; a complete checkpoint has no such part."""
        folder, cfg, checkpoint = self.work_dir / TASK, self._cfg_of(name), self._checkpoint(name)
        try:
            replace_task(
                folder, lambda new: pack(cfg, checkpoint, new, self.index_path, self.work_dir.resolve().name or TASK)
            )
        except ValueError as error:
            print_log(f'{folder} is not written: {error}', 'current', WARNING)

    # Configs and files.

    def _dir(self, name: str) -> Path:
        return self.work_dir / name

    def _in(self, name: str, cfg: Config) -> Config:
        """Return a copy of a config that works in its stage's folder, under a name of its own, with the chain's seed where it has none."""
        dumped = [f'{name}/{Path(cfg.filename).name}'] if cfg.filename else []
        self.state.own(name)
        self.state.own_file(*dumped)
        cfg = deepcopy(cfg)
        randomness = dict(cfg.get('randomness') or {})
        if randomness.get('seed') is None:
            cfg.randomness = {**randomness, 'seed': self.state.content['seed']}
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
        """Return a finished training's checkpoint.

        Raises:
            ValueError: If another training wrote over it, as one with the same `out_dir` does.
        """
        done = read_json(self._dir(name) / DONE_FILE)
        path = self._found(name, done['checkpoint'])
        if path not in self.seen and done.get('sha256') and digest_of(path) not in (None, done['sha256']):
            raise ValueError(
                f'{path!r} is not the file that the training {name!r} of work_dir {str(self.work_dir)!r} left; was it written over (the same '
                'out_dir of CheckpointHook)?'
            )
        self.seen.add(path)
        return path

    def _last_checkpoint(self, name: str) -> str | None:
        return last_checkpoint(self._dir(name))

    def _found(self, name: str, path: str) -> str:
        """Return a file's path, in its stage's folder where that was moved since."""
        return path if Path(path).exists() else str(self._dir(name) / Path(path).name)

    def _has_best(self, name: str) -> bool:
        done = read_json(self._dir(name) / DONE_FILE)
        return done.get('best', Path(done['checkpoint']).name.startswith('best_'))

    def _check_later_stages(self) -> None:
        """Build once what is built only after a training: a config that names what is not there is to fail now."""
        seen: list[str] = []
        for name, cfg in (('tuned', self.tune), ('full', self.baseline), ('retrained', self.pruned)):
            if cfg is None or (self._dir(name) / 'metrics.json').exists():
                continue
            part = str((cfg.get('default_scope'), cfg.test_dataloader, cfg.test_evaluator))
            if part not in seen:
                seen.append(part)
                check_builds(cfg)

    def _check_unchanged(self, given: tuple[Config | None, ...]) -> None:
        """Refuse to mix results of different configs in one folder; where nothing came of the earlier run, take the folder over."""
        ours = hashlib.sha256(
            '\n'.join(essential_text(cfg) if cfg is not None else '' for cfg in given).encode()
        ).hexdigest()
        if self._has_results() and self.state.content.get('configs', ours) != ours:
            raise ValueError(
                f'work_dir {str(self.work_dir)!r} holds a run of other configs; give another one, or remove it (run_sls.py '
                '--restart)'
            )
        self.state.check_unowned()
        barrier()
        if is_main_process():
            self.work_dir.mkdir(parents=True, exist_ok=True)
        seed = [self.state.content.get('seed', secrets.randbelow(2**31))]
        broadcast_object_list(seed)
        self.state.save(configs=ours, seed=seed[0], wrote=self.state.wrote)

    def _has_results(self) -> bool:
        return self.index_path.exists() or any(any(self.work_dir.glob(f'*/{name}')) for name in MARKS)


def keeping_two(cfg: Config) -> Config:
    """Have a config's CheckpointHook keep two checkpoints where it keeps one, in place.

    mmengine 0.10 removes the old one before it writes the next: a kill between the two would cost the whole training.
    """
    for hook in checkpoint_hooks(cfg):
        if hook.get('max_keep_ckpts') == 1:
            hook['max_keep_ckpts'] = 2  # type: ignore[index]
    return cfg
