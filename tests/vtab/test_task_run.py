"""The chain on one task and what it is compared with, on a tiny ViT and real (few) digits."""

from __future__ import annotations

import importlib.util
import json
import shutil

import pytest
import torch

from mmsls import runs
from mmsls.backbones.identity import unpack
from mmsls.backbones.lookup import find_backbone
from mmsls.pruning_index import PruningIndex
from mmsls.vtab.methods import METHODS, check_methods
from mmsls.vtab.results import load, task_table
from mmsls.vtab.settings import for_retraining
from mmsls.vtab.task_run import TaskRun

HAS_TORCH_PRUNING = importlib.util.find_spec('torch_pruning') is not None
BLOCK_METHODS = ['random', 'block_influence', 'linear_probe', 'full_depth']
assert set(BLOCK_METHODS) < set(METHODS)


class Silent:
    """Progress of nobody; it keeps the stages and the configs that they trained with."""

    def __init__(self):
        self.stages, self.trained = [], {}

    def stage(self, name, reused):
        self.stages.append((name, reused))
        return self

    def prepare(self, runner):
        if runner._train_loop is not None:
            self.trained[self.stages[-1][0]] = runner.cfg

    def on_batch(self, done, total):
        pass


def write_index(folder, scores=(0.1, 0.6, 0.8, 0.9), **backbone):
    """Decide before the chain does, so that something is pruned whatever a random backbone makes of digits."""
    backbone = {'type': 'VisionTransformer', 'embed_dims': 32, 'depths': [len(scores)], **backbone}
    folder.mkdir(parents=True, exist_ok=True)
    blocks = [(stage, block) for stage, depth in enumerate(backbone['depths']) for block in range(depth)]
    table = dict(zip(blocks, scores, strict=True))
    PruningIndex.create(scores=table, backbone=backbone).save(folder / 'pruning_index.json')


@pytest.fixture(scope='module')
def finished(vit_cfg, tmp_path_factory):
    """A run with one method, and again with the others: folder, methods, stages of the second call, results."""
    folder = tmp_path_factory.mktemp('run') / 'digits'
    methods = [*BLOCK_METHODS, 'depgraph'] if HAS_TORCH_PRUNING else BLOCK_METHODS
    first = TaskRun(vit_cfg(), folder, Silent(), 'digits', 3, methods[:1])
    write_index(folder)
    first.compare()
    progress = Silent()
    results = TaskRun(vit_cfg(), folder, progress, 'digits', 3, methods).compare()
    return folder, methods, progress.stages, results


def test_every_method_has_a_result_and_a_real_file(finished):
    folder, methods, _, results = finished
    assert [result.method for result in results] == ['tuned', 'SLS', *methods]
    assert load(folder / 'comparison.json') == results
    for result in results:
        assert 0 <= result.accuracy <= 100
        assert result.stored_bytes > 4 * result.stored
        assert result.throughput > 0
        assert result.seed == 3
    assert task_table(results).count('\n') == len(results) + 2


def test_pruned_models_are_smaller_and_have_an_accuracy_before_retraining(finished):
    tuned, sls, *others = finished[3]
    assert tuned.before is None
    assert len(tuned.kept) == 4
    assert sls.kept == [[0, 0], [0, 1], [0, 2], [0, 3]][: len(sls.kept)]
    assert len(sls.kept) < 4
    for result in (sls, *others):
        if result.method == 'full_depth':
            continue
        assert result.same_as == 'tuned' or result.before is not None
        assert result.same_as == 'tuned' or result.total < tuned.total
        assert result.same_as == 'tuned' or result.memory < tuned.memory
        if result.method in ('block_influence', 'random'):
            assert len(result.kept) == len(sls.kept)


def test_the_control_is_trained_on_at_full_depth(finished):
    folder, _, _, rows = finished
    tuned, control = rows[0], next(row for row in rows if row.method == 'full_depth')
    assert (control.kept, control.total, control.macs) == (tuned.kept, tuned.total, tuned.macs)
    assert control.before is control.same_as is None
    before, after = (
        torch.load(folder / name / 'epoch_1.pth', weights_only=True)['state_dict'] for name in ('tuned', 'full_depth')
    )
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[key], after[key]) for key in before)


@pytest.mark.skipif(not HAS_TORCH_PRUNING, reason='needs the package torch-pruning')
def test_depgraph_has_as_many_parameters_and_stores_them_all(finished):
    results = {result.method: result for result in finished[3]}
    sls, depgraph = results['SLS'], results['depgraph']
    assert depgraph.total == pytest.approx(sls.total, rel=0.05)
    assert depgraph.stored == depgraph.total
    assert depgraph.trained < depgraph.total / 2
    assert len(depgraph.kept) == 4


@pytest.mark.skipif(not HAS_TORCH_PRUNING, reason='needs the package torch-pruning')
def test_swin_is_compared_too(vit_cfg, tiny_swin, tmp_path):
    cfg = vit_cfg()
    for part, settings in tiny_swin.items():
        cfg.model[part] = settings
    methods = ['magnitude', 'taylor', 'depgraph']
    run = TaskRun(cfg, tmp_path / 'run', Silent(), 'digits', 0, methods)
    write_index(tmp_path / 'run', (0.1, 0.2, 0.3, 0.8, 0.9), type='SwinTransformer', embed_dims=8, depths=[1, 2, 2])
    tuned, sls, *others = run.compare()
    assert sls.kept == [[0, 0], [1, 0], [1, 1]]
    for result in others:
        assert len(result.kept) == (5 if result.method == 'depgraph' else 3)
        assert result.before is not None
        assert result.macs < tuned.macs
    assert others[-1].total == pytest.approx(sls.total, rel=0.05)
    assert others[-1].stored == others[-1].total


def test_methods_can_be_added_later_and_nothing_is_done_twice(finished):
    stages = dict(finished[2])
    assert all(stages[name] for name in ('tuned', 'score', 'retrained', 'random', 'random: test'))
    assert [reused for name, reused in stages.items() if name.endswith(': blocks')] == [False]


def test_what_a_method_stores_are_the_blocks_that_it_keeps_numbered_anew(finished):
    folder, _, _, results = finished
    kept = next(result for result in results if result.method == 'random').kept
    tuned = torch.load(folder / 'tuned' / 'epoch_1.pth', weights_only=True)['state_dict']
    stored = torch.load(folder / 'random' / 'stored.pth', weights_only=True)['state_dict']
    layers = {int(key.split('.')[2]) for key in stored if key.startswith('backbone.layers.')}
    assert layers == set(range(len(kept)))
    assert unpack(stored['backbone._extra_state']).get('kept_blocks', [[0, 0], [0, 1]]) == [list(b) for b in kept]
    assert set(stored) < set(tuned)


def test_where_sls_keeps_every_block_it_is_the_tuned_model_and_the_control_still_runs(vit_cfg, tmp_path):
    methods = ['random', 'full_depth', *(['depgraph'] if HAS_TORCH_PRUNING else [])]
    task = TaskRun(vit_cfg(), tmp_path / 'run', Silent(), 'digits', methods=methods)
    write_index(tmp_path / 'run', (0.9, 0.8, 0.7, -0.1))
    same = {result.method: result.same_as for result in task.compare()}
    assert same == {'tuned': None, **dict.fromkeys(['SLS', *methods], 'tuned'), 'full_depth': None}


@pytest.mark.long
@pytest.mark.skipif(not HAS_TORCH_PRUNING, reason='needs torch-pruning')
def test_a_size_that_depgraph_cannot_have_costs_no_other_method(vit_cfg, tmp_path):
    cfg = vit_cfg()
    cfg.model.backbone.adapter.rank = 100  # more outside the blocks' inner layers than the pruned model has in all
    run = TaskRun(cfg, tmp_path / 'run', Silent(), 'digits', methods=['depgraph', 'block_influence'])
    write_index(tmp_path / 'run', (0.1, 0.8, 0.8, 0.9))
    assert [result.method for result in run.compare()] == ['tuned', 'SLS', 'block_influence']
    assert json.loads((tmp_path / 'run' / 'kept_blocks.json').read_text())['depgraph']['kept'] is None


def test_sls_and_the_other_methods_retrain_by_the_same_config(vit_cfg, tmp_path):
    folder = tmp_path / 'run'
    progress = Silent()
    run = TaskRun(vit_cfg(), folder, progress, 'digits', 5, ['full_depth'], pruned=for_retraining(vit_cfg(), 1e-5))
    write_index(folder)
    run.compare()
    for name in ('retrained', 'full_depth'):
        used = progress.trained[name]
        assert (used.optim_wrapper.optimizer.lr, used.param_scheduler) == (1e-5, [])
        assert used.randomness.seed == 5
    with pytest.raises(ValueError, match='holds a run of other configs'):
        TaskRun(vit_cfg(), folder, Silent(), 'digits', 5)


def test_unknown_methods_are_refused_before_anything_runs(vit_cfg, tmp_path):
    with pytest.raises(ValueError, match=r"methods: no method is called 'magic'; known: magnitude"):
        TaskRun(vit_cfg(), tmp_path, Silent(), 'digits', methods=['magic'])
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not HAS_TORCH_PRUNING, reason='needs torch-pruning')
@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'type': 'PrunedSwinTransformer', 'fused_attention': False}, 'heads of Swin with fused_attention=False'),
        ({'adapter': {'type': 'mmsls.LoRA'}}, 'layers that carry mmsls.LoRA'),
    ],
)
def test_depgraph_is_refused_before_training_where_it_cannot_prune(vit_cfg, tmp_path, changes, said):
    cfg = vit_cfg()
    cfg.model.backbone.update(changes)
    with pytest.raises(ValueError, match=said):
        TaskRun(cfg, tmp_path, Silent(), 'digits', methods=['depgraph'])
    assert not list(tmp_path.iterdir())


def test_results_for_other_blocks_are_not_taken_over(finished, vit_cfg, tmp_path):
    """What to remove is named, and removing only the choice is not enough."""
    shutil.copytree(finished[0], tmp_path / 'digits')
    run = TaskRun(vit_cfg(), tmp_path / 'digits', Silent(), 'digits', 3, ['random'])
    with pytest.raises(ValueError, match=r"holds results of 'random' for the blocks .*'random' and 'random_pruned'"):
        run.choices.kept(count=1)
    (tmp_path / 'digits' / 'kept_blocks.json').unlink()
    with pytest.raises(ValueError, match=r"holds results of 'random' for unknown blocks"):
        run.choices.kept(count=1)


@pytest.mark.skipif(not HAS_TORCH_PRUNING, reason='needs torch-pruning')
def test_a_model_that_depgraph_pruned_to_another_size_is_not_overwritten(finished, vit_cfg):
    folder = finished[0]
    widths = (folder / 'depgraph' / 'widths.json').read_text()
    with pytest.raises(ValueError, match="holds results of 'depgraph' of another size"):
        TaskRun(vit_cfg(), folder, Silent(), 'digits', 3, ['depgraph']).choices.kept(count=1)
    assert (folder / 'depgraph' / 'widths.json').read_text() == widths


def test_a_setting_that_changes_nothing_for_a_method_is_no_reason_to_refuse_it(finished, vit_cfg, tmp_path):
    _, methods, _, _ = finished
    folder = shutil.copytree(finished[0], tmp_path / 'digits')
    index = PruningIndex.load(folder / 'pruning_index.json')
    before = TaskRun(vit_cfg(), folder, Silent(), 'digits', 3, methods).choices.kept(count=2)
    index.decide(alpha=index.alpha + 0.01).save(folder / 'pruning_index.json')
    progress = Silent()
    assert TaskRun(vit_cfg(), folder, progress, 'digits', 3, methods).choices.kept(count=2) == before
    assert progress.stages == [('linear_probe: blocks', False)]


def test_methods_of_earlier_calls_stay_in_the_table(finished, vit_cfg):
    folder, methods, _, _ = finished
    results = TaskRun(vit_cfg(), folder, Silent(), 'digits', 3, methods[1:2]).compare()
    assert {result.method for result in results} == {'tuned', 'SLS', *methods}


def test_a_bad_rule_is_refused_before_training(vit_cfg, tmp_path):
    with pytest.raises(ValueError, match='alpha'):
        TaskRun(vit_cfg(), tmp_path, Silent(), 'digits', decision={'alpha': 2.0})
    assert not list(tmp_path.iterdir())


def test_depgraph_without_its_package_is_refused(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'torch_pruning', None)
    with pytest.raises(ValueError, match=r"'depgraph' needs the package torch-pruning.*pip install torch-pruning"):
        check_methods(['depgraph'], {'type': 'PrunedVisionTransformer'})


def test_the_seed_is_that_of_the_run(finished):
    folder, _, _, _ = finished
    meta = torch.load(folder / 'tuned' / 'epoch_1.pth', weights_only=True)['meta']
    assert meta['seed'] == 3
    assert json.loads((folder / 'kept_blocks.json').read_text()).keys() == set(finished[1])


def test_pruned_depths_load_through_the_ordinary_config(finished, vit_cfg):
    folder, _, _, results = finished
    cfg = vit_cfg()
    cfg.model.backbone.pruning_index = str(folder / 'pruning_index.json')
    model = runs.build_model(cfg, str(folder / 'retrained' / 'stored.pth'))
    assert find_backbone(model).kept_depths == (len(results[1].kept),)
