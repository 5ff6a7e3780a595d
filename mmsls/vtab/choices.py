"""Which blocks the methods keep that SLS is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from logging import WARNING
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.logging import print_log

from mmsls import runs
from mmsls.backbones.lookup import find_backbone
from mmsls.chain.chain import Chain
from mmsls.cost.complexity import count_parameters
from mmsls.criteria import CRITERIA, Evidence, kept_blocks
from mmsls.criteria.choosing import check_block_scores
from mmsls.criteria.depgraph import SizeError, depgraph
from mmsls.files.reading import read_json
from mmsls.files.writing import whole_file, write_json
from mmsls.parallel.main_process import on_main_process
from mmsls.pruning_index import PruningIndex
from mmsls.scoring.curve import POINTS
from mmsls.vtab.evidence import gather_evidence
from mmsls.vtab.methods import METHODS
from mmsls.vtab.results import RESULTS_FILE, load


class Choices:
    """The choice of every method on one task, found once and stored in `kept_blocks.json`.

    Args:
        chain: The task's chain; its tuned model is what is judged.
        task: Name of the task.
        seed: Of what a method draws.
        methods: Names out of `METHODS`; those of earlier calls stay.
    """

    def __init__(self, chain: Chain, task: str, seed: int, methods: Sequence[str]) -> None:
        self.chain, self.stages, self.work_dir = chain, chain.stages, chain.work_dir
        self.task, self.seed, self.methods = task, seed, methods

    def kept(self, count: int) -> dict[str, list[list[int]]]:
        """Return the blocks `(stage, block)` that every method keeps; a method that cannot prune as far is left out.

        Args:
            count: How many SLS keeps.

        Raises:
            ValueError: If there are results of a method that keeps other blocks now.
        """
        path = self.work_dir / 'kept_blocks.json'
        self.stages.state.own_file(path.name, RESULTS_FILE)
        stored = read_json(path) if path.exists() else {}
        fresh = [name for name in stored if name in METHODS and stored[name].get('for') == self._basis(name, count)]
        finished = {result.method for result in load(self.work_dir / RESULTS_FILE)}
        asked = [*self.methods, *(name for name in fresh if name in finished and name not in self.methods)]
        stale = [name for name in asked if name not in fresh]
        if stale:
            self.stages.progress.stage(f'{", ".join(stale)}: blocks', False)
            if 'depgraph' in stale:
                self._refuse_results_of('depgraph', 'of another size')
                self.stages.state.own('depgraph')
            chosen = self._choose(stale, count)
            for name in stale:
                before = stored.get(name, {}).get('kept')
                if before != chosen[name]:
                    self._refuse_results_of(name, f'for the blocks {before}' if before else 'for unknown blocks')
                stored[name] = {'for': self._basis(name, count), 'kept': chosen[name]}
            on_main_process(partial(write_json, stored, path))
        return {name: stored[name]['kept'] for name in asked if stored[name]['kept'] is not None}

    def _basis(self, name: str, count: int) -> dict[str, Any]:
        """Return what of SLS's decision a method's choice rests on: its walk's settings, or how many it keeps.

        A method whose curve is not in points is read by `alpha` where SLS's is read by `max_drop`, any by `alpha` where
        that is read by `keep`.
        """
        if METHODS[name] and (criterion := CRITERIA.build({'type': METHODS[name]})).kind == 'depth':
            options = PruningIndex.load(self.chain.index_path).rule.as_dict()
            readable = set(options) - {'keep'} - ({'max_drop'} if criterion.unit != POINTS else set())
            return {key: value for key, value in options.items() if key in readable}
        return {'count': count}

    def _has_results_of(self, name: str) -> bool:
        return any(self.stages.is_tested(f'{name}{stage}') for stage in ('', '_pruned'))

    def _refuse_results_of(self, name: str, what: str) -> None:
        if self._has_results_of(name) or (self.stages.folder(name) / 'last_checkpoint').exists():
            raise ValueError(
                f'work_dir {str(self.work_dir)!r} holds results of {name!r} {what}, and SLS or its settings changed '
                f"since; remove its folders '{name}' and '{name}_pruned', or give another work_dir"
            )

    def _choose(self, methods: Sequence[str], count: int) -> dict[str, list[list[int]] | None]:
        evidence = gather_evidence(
            self.stages.settled('score', self.chain.tune), self.stages.checkpoint('tuned'), self.seed
        )
        return on_main_process(lambda: {name: self._ask(name, evidence, count) for name in methods})

    def _ask(self, method: str, evidence: Evidence, count: int) -> list[list[int]] | None:
        """Return the blocks that one method keeps, or None where it cannot prune as far.

        DepGraph leaves its pruned model in its folder.
        """
        blocks = [list(block) for block, _ in evidence.backbone.iter_blocks()]
        if method == 'depgraph' and count < len(blocks):
            try:
                self._prune_by_depgraph(evidence)
            except SizeError as error:
                print_log(f'{self.task}: depgraph is left out: {error}', 'current', WARNING)
                return None
        if METHODS[method] is None:
            return blocks
        criterion = CRITERIA.build({'type': METHODS[method]})
        scores = criterion(evidence)
        check_block_scores(method, scores)
        print_log(f'{method}: ' + ' '.join(f'{score:.4g}' for score in scores.values()), 'current')
        return [
            list(block) for block in kept_blocks(criterion, scores, **{'count': count, **self._basis(method, count)})
        ]

    def _prune_by_depgraph(self, evidence: Evidence) -> None:
        target = count_parameters(runs.build_model(self.chain.pruned_cfg())).total
        model = runs.build_model(self.chain.tune, self.stages.checkpoint('tuned')).to(get_device())
        widths = depgraph(Evidence(model, find_backbone(model), evidence.batches, {}, evidence.labels), target)
        folder = self.stages.folder('depgraph')
        folder.mkdir(exist_ok=True)
        with whole_file(folder / 'start.pth') as partial, partial.open('wb') as file:
            torch.save({'state_dict': model.cpu().state_dict(), 'meta': {}}, file)
        write_json(widths, folder / 'widths.json')
