"""The whole chain by config: tune, score, prune, retrain, evaluate, or decide first; resumable at each stage."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmsls import runs
from mmsls.chain.checks import check_all_build, check_configs, with_test
from mmsls.chain.configs import (
    check_decision,
    config_digest,
    depths_of,
    full_cfg,
    overriding,
    taught_by,
    tuning,
    without_bridge,
    without_hook,
    without_sls_hook,
)
from mmsls.chain.ending import Model, leave, measure_models
from mmsls.chain.stages import Progress, RunnerObserver, Stages
from mmsls.chain.state import BRIDGED, INDEX_FILE, REFITTED, REPORT, RESULTS, TASK
from mmsls.cost.measuring import Row
from mmsls.files.trouble import naming
from mmsls.parallel.main_process import on_main_process
from mmsls.pruning_index import PruningIndex
from mmsls.pruning_index.keeping import copy_index
from mmsls.report.leaving import leave_report


class Chain:
    """Tune, score, prune, retrain and evaluate one config.

    Or decide first: score the untuned model, prune, tune once at the kept depths, evaluate.

    Every stage leaves its result under `work_dir` and is skipped when it is there already; an interrupted training
    resumes, and ends as one that was not interrupted. `chain.json` there records what the chain writes; nothing else is
    ever replaced or removed. What a config lacks is refused before anything is trained; one without a test part is
    tested on its validation images (`tested_on`). Whoever goes on from a chain does so with its `stages`.

    Args:
        tune: Config that tunes adapters at full depth on a frozen base.
        work_dir: Where everything goes.
        progress: Who shows how far it is.
        pruned: Config of the retraining; by default `tune` with the index in place of its `SLSHook`. With
            `refit_head=True` in it, the retraining starts from a head that was refitted in closed form. A `DistillHook`
            in it that names no teacher has the tuned model as one.
        baseline: Config of the frozen backbone with a trained head, for the row `full`; without it that row has no
            metric.
        decision: Settings of the rule that override the config's (`alpha`, `scope`, `min_depth`, `reference`,
            `max_drop`); None leaves one as it is. They may change until something was pruned.
        decide_first: Score what the tuning starts from (`load_from`, or else the untuned base), and tune at the kept
            depths alone, so that nothing is retrained. The criterion must not need a tuned model.

    Raises:
        ValueError: If a setting of the rule is out of range, a config lacks a part or is not needed, or the work
            directory holds a run of other configs, or files that no chain wrote.
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
        decide_first: bool = False,
    ) -> None:
        self.decision, self.decide_first = decision or {}, decide_first
        check_decision(tune, self.decision)
        check_configs(tune, pruned, baseline, decide_first)
        pruned = pruned if pruned is not None else without_sls_hook(tune)
        digest = config_digest(tune, None if decide_first else pruned, baseline)
        self.tested_on = 'test' if tune.get('test_dataloader') is not None else 'val'
        self.tune, self.pruned = with_test(without_hook(tune, 'DistillHook')), with_test(pruned)
        self.baseline = with_test(baseline) if baseline is not None else None
        self.stages = Stages(work_dir, progress)
        self.work_dir = self.stages.work_dir
        self.index_path = self.work_dir / INDEX_FILE
        with naming(self.work_dir):
            self.stages.state.take_over(digest)

    def run(self, until_score: bool = False) -> list[Row]:
        """Run what is left of the chain and return the table's rows.

        Args:
            until_score: Stop when the index is written and the score curve drawn; the next call goes on.

        Raises:
            ValueError: If other settings of the rule keep other blocks than those that were retrained here.
        """
        with naming(self.work_dir):
            self._check_tests()
            self.stages.state.own(*RESULTS, TASK)
            models = [self._full()]
            if not self.decide_first:
                models.append(self._trained('tuned', tuning(self.tune, self.decision)))
            index = self._scored()
            models += [] if until_score else self._at_kept_depths(index)
            self.stages.progress.stage('measure', False)
            measure_models(models, self.tune)
            on_main_process(partial(self._finish, None if until_score else models))
        return [model.row for model in models]

    def pruned_cfg(self) -> Config:
        """Return the config of the training at the depths that the index keeps, from the tuned weights if there are."""
        cfg = deepcopy(self.pruned)
        cfg.model.backbone.pruning_index = str(self.index_path)
        if self.decide_first:
            return cfg
        cfg.load_from = self.stages.checkpoint('tuned')
        return taught_by(cfg, cfg.load_from)

    def _check_tests(self) -> None:
        tests = {'full': self.baseline}
        tests |= {'decided_first': self.pruned} if self.decide_first else {'tuned': self.tune, 'retrained': self.pruned}
        check_all_build([cfg for name, cfg in tests.items() if cfg is not None and not self.stages.is_tested(name)])
        if self.pruned.get('refit_head') and not self.decide_first and not self.stages.is_tested('refitted'):
            runs.check_refits(self.tune)

    def _full(self) -> Model:
        if self.baseline is not None:
            return self._trained('full', self.baseline)
        cfg = full_cfg(self.tune)
        return Model(Row('full', depths_of(cfg)), cfg)

    def _trained(self, name: str, cfg: Config) -> Model:
        return self._tested(name, cfg, self.stages.train(name, cfg))

    def _at_kept_depths(self, index: PruningIndex) -> list[Model]:
        if self.decide_first:
            return [self._trained('decided_first', self.pruned_cfg())]
        return self._cut() if index.kept_depths != tuple(index.backbone['depths']) else []

    def _cut(self) -> list[Model]:
        """Return the tuned model as it was cut, bridged and refitted where the config says so, and retrained."""
        cfg = self.pruned_cfg()
        models = [self._tested('pruned', without_bridge(cfg), cfg.load_from)]
        if cfg.model.backbone.get('bridge'):
            models.append(self._fitted('bridged', cfg, BRIDGED, runs.bridge))
            cfg.load_from = models[-1].checkpoint
        if cfg.get('refit_head'):
            models.append(self._fitted('refitted', cfg, REFITTED, runs.refit))
            cfg.load_from = models[-1].checkpoint
        return [*models, self._trained('retrained', cfg)]

    def _fitted(self, name: str, cfg: Config, file: str, fit: Callable[..., object]) -> Model:
        """Return the model that something fitted in closed form, tested."""
        self.stages.state.own(name)
        path, cfg = self.stages.folder(name) / file, deepcopy(cfg)

        def work(observer: RunnerObserver) -> None:
            fit(cfg, cfg.load_from, path, on_batch=observer.on_batch)

        self.stages.once(f'{name}: fit', path, work)
        return self._tested(name, cfg, str(path))

    def _tested(self, name: str, cfg: Config, checkpoint: str) -> Model:
        metrics = self.stages.test(name, without_sls_hook(cfg), checkpoint)
        return Model(Row(name, depths_of(cfg), metrics), cfg, checkpoint)

    def _scored(self) -> PruningIndex:
        self.stages.state.own_file(INDEX_FILE, *REPORT, *runs.also_files(self.tune, self.index_path))
        self.stages.once('score', self.index_path, self._score)
        stored = PruningIndex.load(self.index_path)
        index = stored.decide(**overriding(self.tune, self.decision))
        self.stages.state.settle_depths(index.subset or index.kept_depths, stored.subset or stored.kept_depths)
        on_main_process(partial(self._show, index))
        return index

    def _score(self, observer: RunnerObserver) -> None:
        split = runs.default_split(self.tune)
        written = self.stages.folder('tuned') / runs.sls_settings(self.tune).get('out_file', INDEX_FILE)
        of_hook = split == 'val' and written.exists() and not runs.tries(self.tune)
        if of_hook and not self.stages.has_best('tuned'):
            # The hook scored the very weights that are evaluated, during their last validation.
            on_main_process(partial(copy_index, written, self.index_path))
            return
        cfg, scored = self.stages.settled('score', self.tune), self._scored_checkpoint()
        runs.score(cfg, scored, split, self.index_path, observer.prepare, observer.on_batch, **self.decision)

    def _scored_checkpoint(self) -> str | None:
        return self.tune.get('load_from') if self.decide_first else self.stages.checkpoint('tuned')

    def _show(self, index: PruningIndex) -> None:
        index.save(self.index_path)
        leave_report(self.index_path)

    def _finish(self, models: list[Model] | None) -> None:
        if models is not None:
            leave(models, self.work_dir, self.index_path)
        runs.leave_costs(self.tune, self.index_path, self._scored_checkpoint(), again=False)
        leave_report(self.index_path)
