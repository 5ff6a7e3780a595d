"""One task, one seed: the SLS chain, and other ways to prune with the same budget."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import barrier, broadcast_object_list, is_main_process
from mmengine.logging import print_log

from mmsls import runs
from mmsls.block_scorer import find_backbone
from mmsls.checkpoint import strip_training_state
from mmsls.complexity import count_macs, count_parameters, latencies, training_bytes
from mmsls.criteria import CRITERIA, Evidence, kept_blocks
from mmsls.criteria.base import check_block_scores
from mmsls.criteria.depgraph import depgraph
from mmsls.json_files import read_json, write_json
from mmsls.pipeline import INDEX_FILE, Chain, Progress, first_images, losses, run_once
from mmsls.pruning_index import PruningIndex
from mmsls.scoring.rule import RULE_OPTIONS
from mmsls.vtab.evidence import gather_evidence
from mmsls.vtab.methods import METHODS, check_methods
from mmsls.vtab.results import RESULTS_FILE, Result, save

TIMED_BATCH = 16
CLASSIFIER = 'ComparisonClassifier'


class TaskRun(Chain):
    """The SLS chain on one task, then every other method from the same tuned model with the same retraining.

    Methods that rank blocks keep as many as SLS keeps, wherever they stand; methods that, like SLS, rate the features of every depth find
    their own depth by the same walk; DepGraph keeps all blocks, and as many parameters as SLS; the control `full_depth` keeps all. A method
    that chooses the blocks of an earlier one takes its results.

    Args:
        cfg: Config of the task (see `mmsls.vtab.settings`).
        work_dir: Where everything goes; every stage that is there already is skipped.
        progress: Who shows how far it is.
        task: Name of the task.
        seed: Of training, and of what a method draws.
        methods: Names out of `METHODS`.
        decision: As for `Chain`.

    Raises:
        ValueError: If a method is unknown or cannot run, or the work directory holds a run of another config.
    """

    def __init__(
        self,
        cfg: Config,
        work_dir: str | Path,
        progress: Progress,
        task: str,
        seed: int = 0,
        methods: Sequence[str] = (),
        decision: dict[str, Any] | None = None,
    ) -> None:
        check_methods(methods, cfg.model.backbone)
        cfg.randomness = {**cfg.get('randomness', {}), 'seed': seed}
        super().__init__(cfg, work_dir, progress, decision=decision)
        self.task, self.seed, self.methods = task, seed, methods

    def compare(self) -> list[Result]:
        """Run what is left, and return a result per method, the tuned model and SLS first."""
        rows = {row.name: row for row in self.run()}
        index = PruningIndex.load(self.index_path)
        sls = [[stage, block] for stage, depth in enumerate(index.kept_depths) for block in range(depth)]
        every = [[stage, block] for stage, depth in enumerate(index.backbone['depths']) for block in range(depth)]
        self.variants: dict[str, tuple[list[list[int]], Config, str]] = {'tuned': (every, self.tune, 'tuned')}
        if 'retrained' in rows:
            self.variants['SLS'] = (sls, self._pruned_cfg(), 'retrained')
            for name, kept in self._chosen_blocks(len(sls)).items():
                self._compare_with(name, kept)
        else:
            print_log(f'{self.task}: SLS keeps every block, so there is nothing to compare it with', 'current')
        results = self._results()
        if is_main_process():
            save(results, self.work_dir / RESULTS_FILE)
        barrier()
        return results

    # Which blocks a method keeps.

    def _chosen_blocks(self, count: int) -> dict[str, list[list[int]]]:
        """Return the blocks that every method keeps, found once and stored.

        Raises:
            ValueError: If they were found for another decision of SLS.
        """
        path, decision = self.work_dir / 'kept_blocks.json', {'count': count, **self._settled()}
        stored = read_json(path) if path.exists() else {'decision': decision, 'kept': {}}
        chosen = stored['kept']
        if stored['decision'] != decision:
            raise ValueError(
                f'{str(path)!r} holds what the other methods keep for {stored["decision"]}, SLS now has {decision}; remove that file and the '
                f'folders of {", ".join(chosen)}, or give another work_dir'
            )
        missing = [name for name in self.methods if name not in chosen]
        if missing:
            self.progress.stage(f'{", ".join(missing)}: blocks', False)
            chosen |= self._choose(missing, count)
            if is_main_process():
                write_json({'decision': decision, 'kept': chosen}, path)
        barrier()
        return {name: chosen[name] for name in self.methods}

    def _choose(self, methods: Sequence[str], count: int) -> dict[str, list[list[int]]]:
        evidence = gather_evidence(self._in('score', self.tune), self._checkpoint('tuned'), self.seed)
        shared: list[Any] = [None]
        if is_main_process():
            try:
                shared[0] = {name: self._ask(name, evidence, count) for name in methods}
            except Exception as error:  # whatever it is, the other processes wait for word
                shared[0] = error
        broadcast_object_list(shared)
        if isinstance(shared[0], Exception):
            raise shared[0]
        return shared[0]

    def _settled(self) -> dict[str, Any]:
        """Return the settings of the rule that the index was decided with."""
        index = PruningIndex.load(self.index_path)
        return {name: getattr(index, name) for name in RULE_OPTIONS}

    def _ask(self, method: str, evidence: Evidence, count: int) -> list[list[int]]:
        """Return the blocks that one method keeps; DepGraph leaves its pruned model in its folder."""
        if method == 'depgraph':
            self._prune_by_depgraph(evidence)
        if METHODS[method] is None:
            return [list(block) for block, _ in evidence.backbone.iter_blocks()]
        criterion = CRITERIA.build({'type': METHODS[method]})
        scores = criterion(evidence)
        check_block_scores(method, scores)
        print_log(f'{method}: ' + ' '.join(f'{score:.4g}' for score in scores.values()), 'current')
        return [list(block) for block in kept_blocks(criterion, scores, count=count, **self._settled())]

    def _prune_by_depgraph(self, evidence: Evidence) -> None:
        target = count_parameters(runs.build_model(self._pruned_cfg())).total
        model = runs.build_model(self.tune, self._checkpoint('tuned')).to(get_device())
        widths = depgraph(Evidence(model, find_backbone(model), evidence.batches, {}, evidence.labels), target)
        folder = self._dir('depgraph')
        folder.mkdir(exist_ok=True)
        torch.save({'state_dict': model.cpu().state_dict(), 'meta': {}}, folder / 'start.pth')
        write_json(widths, folder / 'widths.json')

    # Running a method.

    def _compare_with(self, name: str, kept: list[list[int]]) -> None:
        """Test a method's pruned model, retrain it, test it again; or find that an earlier method did."""
        same = next((other for other, run in self.variants.items() if run[0] == kept), None)
        if same and METHODS[name] is not None:
            _, cfg, folder = self.variants[same]
            self.variants[name] = (kept, cfg, folder)
            return
        cfg = self._cfg_of_method(name, kept)
        if name != 'full_depth':
            self._evaluated(f'{name}_pruned', cfg, cfg.load_from)
        self._train(name, cfg)
        self._evaluated(name, cfg, self._checkpoint(name))
        self.variants[name] = (kept, cfg, name)

    def _cfg_of_method(self, name: str, kept: list[list[int]]) -> Config:
        cfg = self._pruned_cfg()
        cfg.model.type = CLASSIFIER
        cfg.model.backbone.pop('pruning_index')
        if name == 'depgraph':
            cfg.model.inner_widths = read_json(self._dir(name) / 'widths.json')
            cfg.load_from = str(self._dir(name) / 'start.pth')
        else:
            cfg.model.kept_blocks = kept
        return cfg

    # Measuring.

    def _results(self) -> list[Result]:
        self.progress.stage('throughput', False)
        batch = first_images(self.tune, 'test', TIMED_BATCH)
        models = {
            run[2]: runs.build_model(run[1], self._checkpoint(run[2])).to(get_device())
            for run in self.variants.values()
        }
        forwards = {name: partial(run_once, model, batch) for name, model in models.items()}
        seconds = latencies(forwards, repeats=5, warmup=1)
        image = first_images(self.tune, 'test')
        macs = {name: count_macs(partial(run_once, model, image)) for name, model in models.items()}
        memory = {name: training_bytes(model.train(), partial(losses, model, batch)) for name, model in models.items()}
        owners: dict[str, str] = {}
        results = []
        for method, (kept, _, folder) in self.variants.items():
            owner = owners.setdefault(folder, method)
            counts = count_parameters(models[folder])
            results.append(
                Result(
                    task=self.task,
                    seed=self.seed,
                    method=method,
                    kept=kept,
                    accuracy=self._accuracy(folder),
                    before=self._accuracy('pruned' if folder == 'retrained' else f'{folder}_pruned'),
                    total=counts.total,
                    trained=counts.trained,
                    stored=counts.stored,
                    stored_bytes=self._stored_bytes(folder),
                    macs=macs[folder],
                    throughput=TIMED_BATCH / seconds[folder],
                    memory=memory[folder],
                    same_as=None if owner == method else owner,
                )
            )
        return results

    def _accuracy(self, name: str) -> float | None:
        path = self._dir(name) / 'metrics.json'
        return float(read_json(path)['accuracy/top1']) if path.exists() else None

    def _stored_bytes(self, name: str) -> int:
        """Return the size of what a task stores: weights without training state, and SLS's index."""
        weights = self._dir(name) / 'stored.pth'
        if is_main_process():
            strip_training_state(self._checkpoint(name), weights)
        barrier()
        index = (self.work_dir / INDEX_FILE).stat().st_size if name == 'retrained' else 0
        return weights.stat().st_size + index
