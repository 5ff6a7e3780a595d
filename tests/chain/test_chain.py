"""The chain on a small scene set: real mmdet runs, one process."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress

import pytest
import torch

from mmsls import runs
from mmsls.backbones.lookup import find_backbone
from mmsls.chain.chain import Chain
from mmsls.chain.configs import full_cfg, without_sls_hook
from mmsls.deploy.task_folder import read_task
from mmsls.deploy.task_library import TaskLibrary
from mmsls.pruning_index import PruningIndex
from mmsls.runs.configs import with_bridge, with_distill, with_refit

HOOKS = [
    {'type': 'mmsls.SLSHook', 'alpha': 0.3, 'scope': 'stage', 'max_samples': 100, 'n_jobs': 1},
    {'type': 'mmsls.SlimCheckpointHook'},
]
DEPTHS = (2, 2, 3, 2)
KEPT = (2, 2, 1, 1)


class Stages:
    """Remembers the stages, and breaks the chain off at one of them."""

    def __init__(self, stop_at=None):
        self.seen, self.stop_at, self.iterations = [], stop_at, 0

    def stage(self, name, reused):
        if name == self.stop_at:
            raise KeyboardInterrupt(name)
        self.seen.append((name, reused))
        return self

    def prepare(self, runner):
        pass

    def on_batch(self, done, total):
        self.iterations = done


@pytest.fixture
def tune(tmp_path, detector_cfg, mmdet_host):
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    visualizer = {'type': 'DetLocalVisualizer', 'vis_backends': [{'type': 'LocalVisBackend'}], 'name': 'visualizer'}
    return detector_cfg(tmp_path, hooks=HOOKS, epochs=1, visualizer=visualizer)


def index_that_keeps(kept):
    """An index whose scores make the rule keep `kept` of DEPTHS, stage by stage."""
    scores = {
        (s, b): (-0.5 if b < k - 1 else 0.5)
        for s, (d, k) in enumerate(zip(DEPTHS, kept, strict=True))
        for b in range(d)
    }
    backbone = {'type': 'SwinTransformer', 'embed_dims': 8, 'depths': list(DEPTHS)}
    index = PruningIndex.create(scores=scores, backbone=backbone, scope='stage', min_depth=1)
    assert index.kept_depths == kept
    return index


def test_chain_prunes_retrains_and_reports(tmp_path, tune, drawn):
    work_dir = tmp_path / 'chain'
    chain = Chain(tune, work_dir, Stages(), baseline=full_cfg(tune))
    index_that_keeps(KEPT).save(work_dir / 'pruning_index.json')
    rows = chain.run()
    assert [(row.name, row.depths) for row in rows] == [
        ('full', DEPTHS),
        ('tuned', DEPTHS),
        ('pruned', KEPT),
        ('retrained', KEPT),
    ]
    full, tuned, pruned, retrained = rows
    assert all('coco/bbox_mAP' in row.metrics and row.latency > 0 for row in rows)
    assert full.parameters.total < tuned.parameters.total
    assert pruned.parameters.total < full.parameters.total
    assert pruned.macs < full.macs < tuned.macs
    assert 0 < pruned.memory == retrained.memory < tuned.memory
    assert retrained.parameters == pruned.parameters
    task = read_task(work_dir / 'task')
    assert task.name == 'chain'
    assert task.index.kept_depths == KEPT
    assert not any('qkv' in key for key in task.tensors())
    assert find_backbone(TaskLibrary().open(task.folder)).kept_depths == KEPT
    assert len(json.loads((work_dir / 'results.json').read_text())) == 4
    assert (work_dir / 'score_curve.png').stat().st_size > 0
    text = (work_dir / 'report.html').read_text(encoding='utf-8')
    for part in (
        'Maps of the blocks',
        'What every depth costs',
        'The models of this run, tested',
        '<td>retrained</td>',
    ):
        assert part in text
    other = Chain(tune, work_dir, Stages(), baseline=full_cfg(tune), decision={'min_depth': 2})
    with pytest.raises(ValueError, match=r'pruned to \(2, 2, 1, 1\), these settings keep \(2, 2, 2, 2\)'):
        other.run()
    assert PruningIndex.load(work_dir / 'pruning_index.json').kept_depths == KEPT
    PruningIndex.load(work_dir / 'pruning_index.json').decide(min_depth=2).save(work_dir / 'pruning_index.json')
    with pytest.raises(ValueError, match=r'pruned to \(2, 2, 1, 1\), these settings keep \(2, 2, 2, 2\)'):
        Chain(tune, work_dir, Stages(), baseline=full_cfg(tune)).run()  # the file was edited by hand
    for name in ('full', 'tuned', 'retrained'):  # each run's scalars are in its own folder
        assert list((work_dir / name).glob('*/vis_data/scalars.json'))


def test_chain_bridges_what_was_removed(tmp_path, tune):
    work_dir, pruned = tmp_path / 'chain', without_sls_hook(tune)
    pruned.model.backbone.bridge = True
    chain = Chain(tune, work_dir, Stages(), pruned)
    index_that_keeps(KEPT).save(work_dir / 'pruning_index.json')
    rows = {row.name: row for row in chain.run()}
    assert list(rows) == ['full', 'tuned', 'pruned', 'bridged', 'retrained']
    assert rows['pruned'].parameters.total < rows['bridged'].parameters.total < rows['tuned'].parameters.total
    assert rows['retrained'].parameters == rows['bridged'].parameters
    path = work_dir / 'bridged/bridged.pth'
    written = path.stat().st_mtime_ns
    assert chain.stages.checkpoint('retrained')
    backbone = find_backbone(TaskLibrary().open(work_dir / 'task'))
    assert backbone.bridge
    assert backbone.kept_depths == KEPT
    trained = next(iter(backbone.bridges().values())).bridge.weight
    fitted = torch.load(path, weights_only=True)['state_dict']
    assert 0 < (trained - fitted[f'backbone.{next(iter(backbone.bridges()))}.bridge.weight']).abs().max() < 0.1
    again = Stages()
    Chain(tune, work_dir, again, pruned).run()
    assert dict(again.seen)['bridged: fit'] is True
    assert path.stat().st_mtime_ns == written


def deciding_first(tune):
    hook = {'type': 'mmsls.SLSHook', 'criterion': 'probe', 'max_drop': 100.0, 'scope': 'stage', 'max_samples': 100}
    tune.custom_hooks = [hook, tune.custom_hooks[1]]
    return tune


def test_a_chain_decides_first_and_trains_once(tmp_path, tune):
    tune, work_dir, progress = deciding_first(tune), tmp_path / 'chain', Stages(stop_at='measure')
    with pytest.raises(KeyboardInterrupt):
        Chain(tune, work_dir, progress, decide_first=True).run()
    assert progress.seen == [('score', False), ('decided_first', False), ('decided_first: test', False)]
    index = PruningIndex.load(work_dir / 'pruning_index.json')
    assert index.provenance['checkpoint'] == 'untuned'
    kept = index.kept_depths  # one block, but where a stage of an untuned model guesses no better than chance
    assert all(depth in (1, full) for depth, full in zip(kept, DEPTHS, strict=True))
    assert kept != DEPTHS
    again = Stages()
    full, decided = Chain(tune, work_dir, again, decide_first=True).run()
    assert all(reused for name, reused in again.seen if name != 'measure')
    assert (full.name, full.depths, full.metrics) == ('full', DEPTHS, {})
    assert (decided.name, decided.depths) == ('decided_first', kept)
    assert 'coco/bbox_mAP' in decided.metrics
    assert decided.parameters.total < full.parameters.total
    assert find_backbone(TaskLibrary().open(work_dir / 'task')).kept_depths == kept
    more = re.escape(str(tuple(max(depth, 2) for depth in kept)))
    with pytest.raises(ValueError, match=rf'these settings keep {more}; remove its decided_first, or copy'):
        Chain(tune, work_dir, Stages(), decision={'min_depth': 2}, decide_first=True).run()
    with pytest.raises(ValueError, match=r'work_dir .* other configs'):
        Chain(tune, work_dir, Stages())


def test_what_tuning_starts_from_is_scored_first(tmp_path, tune):
    tune, started = deciding_first(tune), str(tmp_path / 'started.pth')
    torch.save({'meta': {}, 'state_dict': runs.build_model(tune).state_dict()}, started)
    tune.load_from = started
    chain = Chain(tune, tmp_path / 'chain', Stages(), decide_first=True)
    rows = chain.run(until_score=True)
    assert [row.name for row in rows] == ['full']
    assert PruningIndex.load(chain.index_path).provenance['checkpoint'] == 'started.pth'
    assert chain.pruned_cfg().load_from == started
    tune.load_from = None
    Chain(tune, tmp_path / 'other', Stages(), decide_first=True)
    tune.model.backbone.base_checkpoint = tune.model.backbone.adapter = None
    with pytest.raises(ValueError, match='starts from nothing'):
        Chain(tune, tmp_path / 'none', Stages(), decide_first=True)


def test_what_needs_a_tuned_model_is_refused_before_anything_is_written(tmp_path, tune):
    with pytest.raises(ValueError, match='leave out --pruned, --bridge, --refit-head and --distill'):
        Chain(tune, tmp_path / 'chain', Stages(), without_sls_hook(tune), decide_first=True)
    tune.custom_hooks[0] = {'type': 'mmsls.SLSHook', 'criterion': 'bridged'}
    with pytest.raises(ValueError, match="Bridged judges by the model's head, and an untuned head judges nothing"):
        Chain(tune, tmp_path / 'chain', Stages(), decide_first=True)
    assert not (tmp_path / 'chain').exists()


def test_two_processes_run_the_whole_chain(tmp_path, tune, two_processes):
    tune.custom_hooks[0].criterion, tune.custom_hooks[0].max_drop = 'bridged', 100.0
    tune.model.backbone.bridge = True
    two_processes(tune, 'chain')
    ours, other = (torch.load(tmp_path / f'rank{rank}.pth', weights_only=False) for rank in (0, 1))
    assert [(row.name, row.depths, row.metrics) for row in ours] == [(r.name, r.depths, r.metrics) for r in other]
    assert [row.name for row in ours] == ['full', 'tuned', 'pruned', 'bridged', 'retrained']
    assert all(row.memory > 0 for row in ours)
    assert len(json.loads((tmp_path / 'chain/results.json').read_text())) == len(ours)
    assert read_task(tmp_path / 'chain/task').index.kept_depths == ours[-1].depths


def test_broken_off_chain_goes_on_where_it_stopped(tmp_path, tune):
    work_dir = tmp_path / 'chain'
    with pytest.raises(KeyboardInterrupt):
        Chain(tune, work_dir, Stages(stop_at='score')).run()
    weights = sorted((work_dir / 'tuned').glob('*.pth'))
    before = [path.stat().st_mtime_ns for path in weights]
    again = Stages()
    rows = Chain(tune, work_dir, again).run()
    assert [path.stat().st_mtime_ns for path in weights] == before
    assert ('tuned', True) in again.seen
    assert ('score', False) in again.seen
    assert again.iterations > 0  # the best checkpoint is scored, not the last validation's weights
    assert rows[0].name == 'full'
    assert rows[0].metrics == {}
    assert PruningIndex.load(work_dir / 'pruning_index.json').provenance['split'] == 'val'


def test_a_checkpoint_that_was_never_written_is_no_reason_to_stop_for_ever(tmp_path, tune):
    chain = Chain(tune, tmp_path / 'chain', Stages(stop_at='tuned: test'))
    chain.stages.state.own('tuned')
    (tmp_path / 'chain/tuned').mkdir()
    (tmp_path / 'chain/tuned/last_checkpoint').write_text(str(tmp_path / 'chain/tuned/epoch_0.pth'))
    with pytest.raises(KeyboardInterrupt):
        chain.run()
    assert (tmp_path / 'chain/tuned/done.json').exists()


def test_a_folder_that_was_moved_goes_on(tmp_path, tune):
    with pytest.raises(KeyboardInterrupt):
        Chain(tune, tmp_path / 'chain', Stages(stop_at='score')).run()
    (tmp_path / 'chain').rename(tmp_path / 'moved')
    progress = Stages(stop_at='pruned: test')
    tune.work_dir = 'elsewhere'
    with suppress(KeyboardInterrupt):  # whether it comes that far depends on what these weights score
        Chain(tune, tmp_path / 'moved', progress).run()
    assert dict(progress.seen)['tuned'] is True


def test_work_dir_of_another_config_is_refused(tmp_path, tune):
    Chain(tune, tmp_path / 'chain', Stages())
    (tmp_path / 'chain/tuned').mkdir()
    (tmp_path / 'chain/tuned/last_checkpoint').write_text('epoch_1.pth')
    tune.optim_wrapper.optimizer.lr = 0.5
    with pytest.raises(ValueError, match=r'work_dir .* other configs'):
        Chain(tune, tmp_path / 'chain', Stages())


def test_the_config_of_the_retraining_that_is_the_default_anyway_is_no_other_one(tmp_path, tune):
    Chain(tune, tmp_path / 'chain', Stages()).stages.state.own('tuned')
    (tmp_path / 'chain/tuned').mkdir()
    (tmp_path / 'chain/tuned/last_checkpoint').write_text('epoch_1.pth')
    Chain(tune, tmp_path / 'chain', Stages(), pruned=without_sls_hook(tune))


def test_a_folder_in_which_nothing_came_about_is_taken_over(tmp_path, tune):
    good = tune.train_dataloader.dataset.data_root
    tune.train_dataloader.dataset.data_root = 'nowhere/'
    with pytest.raises(FileNotFoundError):
        Chain(tune, tmp_path / 'chain', Stages()).run()
    tune.train_dataloader.dataset.data_root = good
    Chain(tune, tmp_path / 'chain', Stages())


def test_how_data_are_brought_in_is_no_other_config(tmp_path, tune):
    (tmp_path / 'chain/tuned').mkdir(parents=True)
    Chain(tune, tmp_path / 'chain', Stages()).stages.state.own('tuned')
    (tmp_path / 'chain/tuned/last_checkpoint').write_text('epoch_1.pth')
    tune.launcher, tune.train_dataloader.num_workers = 'pytorch', 2
    root = tune.train_dataloader.dataset.data_root
    tune.train_dataloader.dataset.data_root = os.path.relpath(root)
    Chain(tune, tmp_path / 'chain', Stages())


def test_a_bad_rule_is_refused_before_training(tmp_path, tune):
    with pytest.raises(ValueError, match='alpha'):
        Chain(tune, tmp_path / 'chain', Stages(), decision={'alpha': 2.0})
    assert not (tmp_path / 'chain').exists()


def test_an_index_of_another_run_is_refused(tmp_path, tune):
    index_that_keeps(KEPT).save(tmp_path / 'pruning_index.json')
    with pytest.raises(ValueError, match=r'holds a pruning_index\.json that this chain did not write'):
        Chain(tune, tmp_path, Stages())


def test_a_head_that_cannot_be_refitted_is_refused_before_training(tmp_path, tune):
    progress = Stages()
    with pytest.raises(ValueError, match='refit: RetinaHead'):
        Chain(tune, tmp_path / 'chain', progress, with_refit(without_sls_hook(tune))).run()
    assert progress.seen == []


def test_chain_of_a_segmentor_counted_in_iterations(tmp_path, segmentor_cfg):
    from mmseg.utils import register_all_modules

    import mmsls.integrations.mmseg  # noqa: F401 (a config file's custom_imports do it; this config is built in memory)
    from mmsls.report.table import markdown_table

    register_all_modules(init_default_scope=False)
    visualizer = {'type': 'SegLocalVisualizer', 'vis_backends': [{'type': 'LocalVisBackend'}], 'name': 'visualizer'}
    tune = segmentor_cfg(tmp_path, hooks=HOOKS, iterations=2, visualizer=visualizer)
    work_dir = tmp_path / 'chain'
    with pytest.raises(KeyboardInterrupt):
        Chain(tune, work_dir, Stages(stop_at='score'), baseline=full_cfg(tune)).run()
    index_that_keeps(KEPT).save(work_dir / 'pruning_index.json')
    rows = Chain(tune, work_dir, Stages(), baseline=full_cfg(tune)).run()
    assert [(row.name, row.depths) for row in rows[2:]] == [('pruned', KEPT), ('retrained', KEPT)]
    assert all('mIoU' in row.metrics and row.latency > 0 for row in rows)
    assert '| mIoU |' in markdown_table(rows)
    assert rows[2].macs < rows[0].macs < rows[1].macs
    assert PruningIndex.load(work_dir / 'task/pruning_index.json').kept_depths == KEPT


def test_a_hook_that_distils_is_kept_from_the_tuning(tmp_path, tune):
    tune.custom_hooks.append({'type': 'mmsls.DistillHook'})
    chain = Chain(tune, tmp_path / 'chain', Stages())
    assert [hook.type for hook in chain.tune.custom_hooks] == ['mmsls.SLSHook', 'mmsls.SlimCheckpointHook']
    assert [hook.type for hook in chain.pruned.custom_hooks] == ['mmsls.SlimCheckpointHook', 'mmsls.DistillHook']


def test_chain_refits_the_head_before_it_retrains_and_distils(tmp_path, segmentor_cfg):
    from mmseg.utils import register_all_modules

    import mmsls.integrations.mmseg  # noqa: F401

    register_all_modules(init_default_scope=False)
    tune, work_dir = segmentor_cfg(tmp_path, hooks=HOOKS, iterations=2), tmp_path / 'chain'
    pruned = with_distill(with_refit(with_bridge(without_sls_hook(tune))))
    chain = Chain(tune, work_dir, Stages(), pruned)
    index_that_keeps(KEPT).save(work_dir / 'pruning_index.json')
    rows = chain.run()
    assert [row.name for row in rows] == ['full', 'tuned', 'pruned', 'bridged', 'refitted', 'retrained']
    assert rows[3].parameters == rows[4].parameters == rows[5].parameters
    last, key = chain.stages.checkpoint('retrained'), 'decode_head.conv_seg.weight'
    bridged, refitted, retrained = (
        torch.load(path, weights_only=True)['state_dict'][key]
        for path in (work_dir / 'bridged/bridged.pth', work_dir / 'refitted/refitted.pth', last)
    )
    assert 0 < (retrained - refitted).abs().max() < 0.05 < (refitted - bridged).abs().max()
    logged = ''.join(path.read_text() for path in (work_dir / 'retrained').rglob('scalars.json'))
    assert logged.count('"loss_distill": ') == 2
    assert '"loss_distill"' not in ''.join(path.read_text() for path in (work_dir / 'tuned').rglob('scalars.json'))
    again = Stages()
    Chain(tune, work_dir, again, pruned).run()
    assert dict(again.seen)['refitted: fit'] is True
    with pytest.raises(ValueError, match='other configs'):
        Chain(tune, work_dir, Stages(), with_bridge(without_sls_hook(tune)))


@pytest.mark.parametrize(
    ('checkpoint', 'name'),
    [
        ({'out_dir': '{tmp}/elsewhere', 'save_best': 'auto'}, 'elsewhere/tuned/best_coco_bbox_mAP_epoch_1.pth'),
        ({'save_last': False, 'interval': 10, 'save_best': 'auto'}, 'chain/tuned/best_coco_bbox_mAP_epoch_1.pth'),
        ({'out_dir': '{tmp}/elsewhere'}, 'elsewhere/tuned/epoch_2.pth'),
        pytest.param(
            {'save_best': ['coco/bbox_mAP_50', 'coco/bbox_mAP']},
            'chain/tuned/best_coco_bbox_mAP_50_epoch_1.pth',
            marks=pytest.mark.long,
        ),
        pytest.param(
            {'save_best': 'coco/bbox_mAP', 'rule': 'less'},
            'chain/tuned/best_coco_bbox_mAP_epoch_1.pth',
            marks=pytest.mark.long,
        ),
        pytest.param(
            {'save_best': 'auto', 'published_keys': ['meta', 'state_dict']},
            'chain/tuned/best_coco_bbox_mAP_epoch_1.pth',
            marks=pytest.mark.long,
        ),
    ],
)
def test_the_checkpoint_that_mmengine_calls_best_counts(tmp_path, tune, checkpoint, name):
    tune.train_cfg.max_epochs = 2
    filled = {key: value.format(tmp=tmp_path) if isinstance(value, str) else value for key, value in checkpoint.items()}
    tune.default_hooks.checkpoint = {'type': 'CheckpointHook', 'interval': 1, **filled}
    tune.optim_wrapper.optimizer.lr = 0.0  # no later epoch is better than the first
    chain = Chain(tune, tmp_path / 'chain', Stages(stop_at='score'))
    with pytest.raises(KeyboardInterrupt):
        chain.run()
    assert chain.stages.checkpoint('tuned') == str(tmp_path / name)
    assert chain.stages.has_best('tuned') == ('best' in name)


def test_somebodys_task_is_refused_before_anything_is_trained(tmp_path, tune):
    chain = Chain(tune, tmp_path, Stages())
    (tmp_path / 'task').mkdir()
    (tmp_path / 'task/thesis.txt').write_text('mine')
    with pytest.raises(ValueError, match='holds a task that this chain did not write'):
        Chain(tune, tmp_path, Stages())
    chain.stages.state.own_file('task')
    with pytest.raises(ValueError, match='not as the chain wrote it'):
        Chain(tune, tmp_path, Stages())
    assert (tmp_path / 'task/thesis.txt').read_text() == 'mine'


def test_a_chain_without_a_test_part_reports_its_validation(tmp_path, tune):
    for name in ('test_dataloader', 'test_evaluator', 'test_cfg'):
        tune.pop(name)
    chain = Chain(tune, tmp_path / 'chain', Stages())
    rows = chain.run()
    assert chain.tested_on == 'val'
    assert 'coco/bbox_mAP' in rows[1].metrics
    assert rows[0].latency == 0 < rows[1].latency
