"""One task, one seed: the SLS chain, and other ways to prune with the same budget."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log

from mmsls import runs
from mmsls.chain.chain import Chain
from mmsls.chain.stages import Progress
from mmsls.chain.state import INDEX_FILE
from mmsls.checkpoint import strip_training_state
from mmsls.cost.complexity import count_macs, count_parameters, latencies, training_bytes
from mmsls.cost.measuring import first_images, losses, run_once
from mmsls.files.reading import read_json
from mmsls.parallel.main_process import on_main_process
from mmsls.pruning_index import PruningIndex
from mmsls.vtab.choices import Choices
from mmsls.vtab.comparison import CLASSIFIER
from mmsls.vtab.methods import METHODS, check_methods
from mmsls.vtab.results import RESULTS_FILE, Result, save

TIMED_BATCH = 16


class TaskRun:
    """The SLS chain on one task, then every other method from the same tuned model with the same retraining.

    Methods that rank blocks keep as many as SLS keeps, wherever they stand; methods that, like SLS, rate the features
    of every depth find their own depth by the same walk; DepGraph keeps all blocks, and as many parameters as SLS (it
    is left out where it cannot go as low); the control `full_depth` keeps everything. A method that chooses the blocks
    of an earlier one takes its results.

    Args:
        cfg: Config of the task (see `mmsls.vtab.settings`).
        work_dir: Where everything goes; every stage that is there already is skipped.
        progress: Who shows how far it is.
        task: Name of the task.
        seed: Of training, and of what a method draws.
        methods: Names out of `METHODS`.
        decision: As for `Chain`.
        pruned: As for `Chain`; the other methods retrain by it too.

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
        pruned: Config | None = None,
    ) -> None:
        check_methods(methods, cfg.model.backbone)
        for run in filter(None, (cfg, pruned)):
            run.randomness = {**run.get('randomness', {}), 'seed': seed}
        self.chain = Chain(cfg, work_dir, progress, pruned, decision=decision)
        self.stages, self.work_dir = self.chain.stages, self.chain.work_dir
        self.choices = Choices(self.chain, task, seed, methods)
        self.task, self.seed = task, seed

    def compare(self) -> list[Result]:
        """Run what is left, and return a result per method, earlier calls' too, the tuned model and SLS first."""
        rows = {row.name: row for row in self.chain.run()}
        index = PruningIndex.load(self.chain.index_path)
        sls = [list(block) for block in index.kept_blocks]
        every = [[stage, block] for stage, depth in enumerate(index.backbone['depths']) for block in range(depth)]
        self.variants: dict[str, tuple[list[list[int]], Config, str]] = {'tuned': (every, self.chain.tune, 'tuned')}
        if 'retrained' in rows:
            self.variants['SLS'] = (sls, self.chain.pruned_cfg(), 'retrained')
        else:
            print_log(f'{self.task}: SLS keeps every block', 'current')
            self.variants['SLS'] = self.variants['tuned']
        for name, kept in self.choices.kept(len(sls)).items():
            self._compare_with(name, kept)
        results = self._results()
        on_main_process(partial(save, results, self.work_dir / RESULTS_FILE))
        return results

    # Running a method.

    def _compare_with(self, name: str, kept: list[list[int]]) -> None:
        """Test a method's pruned model, retrain it, test it again; or find that an earlier method did."""
        same = next((other for other, run in self.variants.items() if run[0] == kept), None)
        nothing_to_prune = name == 'depgraph' and self.variants['SLS'][2] == 'tuned'
        if same and (METHODS[name] is not None or nothing_to_prune):
            _, cfg, folder = self.variants[same]
            self.variants[name] = (kept, cfg, folder)
            return
        cfg = self._cfg_of_method(name, kept)
        if name != 'full_depth':
            self.stages.test(f'{name}_pruned', cfg, cfg.load_from)
        self.stages.test(name, cfg, self.stages.train(name, cfg))
        self.variants[name] = (kept, cfg, name)

    def _cfg_of_method(self, name: str, kept: list[list[int]]) -> Config:
        cfg = self.chain.pruned_cfg()
        cfg.model.backbone.pop('pruning_index')
        if name == 'depgraph':
            cfg.model.type = CLASSIFIER
            cfg.model.inner_widths = read_json(self.stages.folder(name) / 'widths.json')
            cfg.load_from = str(self.stages.folder(name) / 'start.pth')
        else:
            cfg.model.backbone.kept_blocks = kept
        return cfg

    # Measuring.

    def _results(self) -> list[Result]:
        self.stages.progress.stage('throughput', False)
        batch = first_images(self.chain.tune, 'test', TIMED_BATCH)
        models = {
            run[2]: runs.build_model(run[1], self.stages.checkpoint(run[2])).to(get_device())
            for run in self.variants.values()
        }
        forwards = {name: partial(run_once, model, batch) for name, model in models.items()}
        seconds = latencies(forwards, repeats=5, warmup=1)
        image = first_images(self.chain.tune, 'test')
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
        metrics = self.stages.metrics(name)
        return None if metrics is None else float(metrics['accuracy/top1'])

    def _stored_bytes(self, name: str) -> int:
        """Return the size of what a task stores: weights without training state, and SLS's index."""
        weights = self.stages.folder(name) / 'stored.pth'
        on_main_process(partial(strip_training_state, self.stages.checkpoint(name), weights))
        index = (self.work_dir / INDEX_FILE).stat().st_size if name == 'retrained' else 0
        return weights.stat().st_size + index
