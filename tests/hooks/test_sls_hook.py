"""SLSHook in real (tiny) mmdet runs, by config alone."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from mmengine.hooks import Hook

from mmsls.features.maps import Maps
from mmsls.hooks import SLSHook
from mmsls.pruning_index import PruningIndex

SLS = {'type': 'mmsls.SLSHook', 'alpha': 0.3, 'scope': 'stage', 'max_samples': 2000, 'n_jobs': 1}
BLOCKS = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1)]


def scalars(folder):
    """Return what the run logged, one dict per line."""
    # A stand-alone test writes its metrics to a file named by its time, not to scalars.json.
    paths = [*folder.glob('*/vis_data/scalars.json'), *folder.glob('*/*.json')]
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def scored(folder):
    return [line for line in scalars(folder) if any('sls/' in key for key in line)]


def log_of(folder):
    return ''.join(path.read_text() for path in sorted(folder.glob('2*/*.log')))


class ForwardCounter(Hook):
    """Counts the backbone's forward passes and the loops' iterations."""

    def __init__(self):
        self.forwards = 0
        self.iterations = 0

    def before_run(self, runner):
        runner.model.backbone.register_forward_hook(self.count)

    def count(self, *_):
        self.forwards += 1

    def after_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.iterations += 1


@pytest.fixture(scope='module')
def trained(detector_cfg, build_runner, tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    cfg = detector_cfg(folder, hooks=[SLS, {'type': 'mmsls.SlimCheckpointHook'}])
    runner = build_runner(cfg)
    counter = ForwardCounter()
    for name in ('train', 'val', 'test'):
        setattr(counter, f'after_{name}_iter', counter.after_iter)
    runner.register_hook(counter)
    runner.train()
    return folder, cfg, runner, counter


def test_training_writes_the_index_once_at_the_end(trained, base_file):
    folder, _, runner, _ = trained
    index = PruningIndex.load(folder / 'pruning_index.json')
    assert list(index.scores) == BLOCKS
    assert all(-1 <= score <= 1 for score in index.scores.values())
    assert index.backbone == runner.model.backbone.fingerprint()
    assert index.adapter == runner.model.backbone.adapter_cfg
    assert index.base_sha256 == runner.model.backbone.base_sha256
    assert (index.alpha, index.scope, index.min_depth, index.reference) == (0.3, 'stage', 1, 'top')
    boxes = sum(len(runner.val_dataloader.dataset[i]['data_samples'].gt_instances) for i in range(7))
    assert index.provenance['samples'] == boxes
    assert index.provenance['split'] == 'val'
    assert index.provenance['sampler'] == 'InstanceSampler'
    assert 'CocoDataset' in index.provenance['dataset']
    assert 'val' in index.provenance['dataset']
    assert (folder / 'pruning_index.json').stat().st_size < 8192
    assert len(scored(folder)) == 1


def test_training_leaves_a_report_with_the_map_of_every_block(trained):
    folder, _, runner, _ = trained
    index = PruningIndex.load(folder / 'pruning_index.json')
    maps = Maps.load(folder / 'maps.npz', index)
    assert list(maps.planes) == BLOCKS
    assert len(maps.labels) == index.provenance['samples']
    assert set(maps.names.values()) <= set(runner.val_dataloader.dataset.metainfo['classes'])
    text = (folder / 'report.html').read_text(encoding='utf-8')
    assert text.count('<img src="data:') >= len(BLOCKS)


def test_scores_are_in_the_log(trained):
    folder, _, _, _ = trained
    (line,) = scored(folder)
    index = PruningIndex.load(folder / 'pruning_index.json')
    assert line['step'] == 2
    assert 'coco/bbox_mAP' in line
    for (stage, block), score in index.scores.items():
        assert line[f'sls/stage{stage}_block{block}'] == pytest.approx(score, abs=1e-4)
    assert not any(
        'sls' in name for name in torch.load(folder / 'epoch_2.pth', weights_only=True)['message_hub']['log_scalars']
    )
    # The warning about the split that is reported is there, and what to do.
    assert 'score another split' in next(folder.rglob('*.log')).read_text()


def test_the_curve_goes_to_the_visualizers_backends_block_by_block(trained):
    folder, *_ = trained
    index = PruningIndex.load(folder / 'pruning_index.json')
    lines = [line for line in scalars(folder) if 'sls_curve/stage2' in line]
    assert [line['step'] for line in lines] == [1, 2, 3]
    found = [line['sls_curve/stage2'] for line in lines]
    assert found == pytest.approx([index.scores[2, block] for block in range(3)])


def test_other_criteria_have_curves_from_the_same_pass(trained):
    folder, _, _, _ = trained
    index = PruningIndex.load(folder / 'pruning_index.json')
    ncm, probe = (PruningIndex.load(folder / f'also_{name}.json') for name in ('ncm', 'probe'))
    for other in (ncm, probe):
        assert list(other.scores) == BLOCKS
        assert other.provenance['order_hash'] == index.provenance['order_hash']
        assert (other.max_drop, other.scope, other.min_depth) == (1.0, 'stage', 1)
    assert 'also' not in index.provenance
    lines = [line for line in scalars(folder) if 'sls_curve_ncm/stage2' in line]
    assert [line['sls_curve_ncm/stage2'] for line in lines] == pytest.approx([ncm.scores[2, b] for b in range(3)])
    text = (folder / 'report.html').read_text(encoding='utf-8')
    assert 'What other criteria say' in text
    config = next(folder.glob('*.py'), None)
    assert f'{folder / "epoch_2.pth"}' in text  # in the commands of the page
    assert config is None or config.name in text


def test_scoring_costs_no_forward_pass(trained):
    _, _, runner, counter = trained
    assert counter.iterations == 2 * 2 + 2 * 7
    assert counter.forwards == counter.iterations
    assert not any(block._forward_hooks for _, block in runner.model.backbone.iter_blocks())


def test_the_index_prunes_the_backbone_that_reads_it(trained, detector_cfg, build_runner, tmp_path):
    """The decision of another alpha is stored, read by the backbone, and on it the hook logs and writes nothing."""
    folder, _, _, _ = trained
    index = PruningIndex.load(folder / 'pruning_index.json')
    scores = {block_id: 0.5 - 0.3 * block_id[1] for block_id in index.scores}
    pruned_index = PruningIndex.create(
        scores=scores,
        backbone=index.backbone,
        adapter=index.adapter,
        base_sha256=index.base_sha256,
        provenance={},
        scope='stage',
        min_depth=1,
    )
    path = tmp_path / 'chosen.json'
    pruned_index.save(path)
    before = path.read_text()
    cfg = detector_cfg(
        tmp_path,
        backbone={'pruning_index': str(path)},
        hooks=[{**SLS, 'out_file': str(path)}],
        load_from=str(folder / 'epoch_2.pth'),
        log_level='INFO',
    )
    runner = build_runner(cfg)
    runner.test()
    assert runner.model.backbone.is_pruned
    assert runner.model.backbone.kept_depths == pruned_index.kept_depths
    assert path.read_text() == before
    assert not (tmp_path / 'pruning_index.json').exists()
    log = next(tmp_path.rglob('*.log')).read_text()
    assert 'pruned already' in log
    logged = [key for line in scored(tmp_path) for key in line if 'sls/' in key]
    assert len(logged) == sum(pruned_index.kept_depths)


def test_interval_scores_other_validations_too(detector_cfg, build_runner, tmp_path):
    build_runner(detector_cfg(tmp_path, hooks=[{**SLS, 'interval': 2}], epochs=3)).train()
    assert [line['step'] for line in scored(tmp_path)] == [2, 3]


@pytest.mark.parametrize('door', ['val', 'test'])
def test_stand_alone_run_writes_the_same_index(trained, detector_cfg, build_runner, tmp_path, door):
    folder, _, _, _ = trained
    load_from = str(folder / 'epoch_2.pth')
    cfg = detector_cfg(tmp_path, hooks=[{**SLS, 'out_file': 'here.json'}], load_from=load_from)
    # mmengine 0.10: `save_best` fails in a stand-alone val(), its CheckpointHook is set up before training only.
    cfg.default_hooks.checkpoint.pop('save_best')
    runner = build_runner(cfg)
    getattr(runner, door)()
    index, expected = PruningIndex.load(tmp_path / 'here.json'), PruningIndex.load(folder / 'pruning_index.json')
    assert index.scores == expected.scores
    assert index.kept_depths == expected.kept_depths
    assert index.provenance['split'] == door
    assert index.provenance['order_hash'] == expected.provenance['order_hash']


def test_a_test_does_not_replace_the_index_that_training_wrote(trained, detector_cfg, build_runner, tmp_path):
    folder, _, _, _ = trained
    path = tmp_path / 'pruning_index.json'
    shutil.copy(folder / 'pruning_index.json', path)
    before = path.read_text()
    cfg = detector_cfg(tmp_path, hooks=[SLS], load_from=str(folder / 'epoch_2.pth'), log_level='INFO')
    build_runner(cfg).test()
    assert path.read_text() == before
    log = next(tmp_path.rglob('*.log')).read_text()
    assert "holds scores of the split 'val' and is kept" in log
    assert len(scored(tmp_path)[-1]) > 4  # they are logged all the same
    path.write_text('{')
    build_runner(cfg).test()
    assert PruningIndex.load(path).provenance['split'] == 'test'


def test_two_processes_write_the_same_index(trained, detector_cfg, two_processes, tmp_path):
    """Seven images, two processes: the padded duplicate must not count. (Batches of one: others differ by bits.)"""
    folder, _, _, _ = trained
    two_processes(detector_cfg(tmp_path, hooks=[SLS], load_from=str(folder / 'epoch_2.pth')))
    index, expected = (
        PruningIndex.load(tmp_path / 'pruning_index.json'),
        PruningIndex.load(folder / 'pruning_index.json'),
    )
    assert index.scores == expected.scores
    assert index.provenance['samples'] == expected.provenance['samples']
    assert index.provenance['order_hash'] == expected.provenance['order_hash']


def test_two_processes_share_the_blocks_of_a_probe(trained, detector_cfg, two_processes, build_runner, tmp_path):
    hook = {**SLS, 'criterion': 'ncm', 'max_drop': 5.0}
    weights = str(trained[0] / 'epoch_2.pth')
    two_processes(detector_cfg(tmp_path / 'two', hooks=[hook], load_from=weights))
    build_runner(detector_cfg(tmp_path / 'one', hooks=[hook], load_from=weights)).test()
    two, one = (PruningIndex.load(tmp_path / name / 'pruning_index.json') for name in ('two', 'one'))
    assert two == one
    assert (two.curve.unit, two.provenance['stability']['rounds']) == ('points', 500)


def test_ema_weights_are_those_scored(detector_cfg, build_runner, tmp_path):
    lively = {'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 0.03}}
    cfg = detector_cfg(
        tmp_path / 'train',
        hooks=[{'type': 'EMAHook', 'momentum': 0.2}, SLS, {'type': 'mmsls.SlimCheckpointHook'}],
        optim_wrapper=lively,
    )
    build_runner(cfg).train()
    trained = PruningIndex.load(tmp_path / 'train/pruning_index.json')
    saved = torch.load(tmp_path / 'train/epoch_2.pth', weights_only=True)
    found = {}
    for name, state in (
        ('averaged', saved['state_dict']),
        (
            'last',
            {
                key.removeprefix('module.'): value
                for key, value in saved['ema_state_dict'].items()
                if key.startswith('module.')
            },
        ),
    ):
        torch.save({'state_dict': state, 'meta': {}}, tmp_path / f'{name}.pth')
        build_runner(detector_cfg(tmp_path / name, hooks=[SLS], load_from=str(tmp_path / f'{name}.pth'))).test()
        found[name] = PruningIndex.load(tmp_path / name / 'pruning_index.json').scores
    assert trained.scores == found['averaged']
    assert trained.scores != found['last']


# Bad input.


def test_validation_without_ground_truth_is_a_clear_error(detector_cfg, build_runner, tmp_path):
    cfg = detector_cfg(tmp_path, hooks=[SLS], epochs=1)
    cfg.val_dataloader.dataset.pipeline = [
        step for step in cfg.val_dataloader.dataset.pipeline if step['type'] != 'LoadAnnotations'
    ]
    with pytest.raises(ValueError, match='LoadAnnotations'):
        build_runner(cfg).train()
    assert not (tmp_path / 'pruning_index.json').exists()


@pytest.fixture
def relabelled(scenes, tmp_path):
    """A function that writes changed annotations of the validation set."""

    def run(change):
        content = json.loads((scenes / 'annotations/val.json').read_text())
        change(content)
        path = tmp_path / 'changed.json'
        path.write_text(json.dumps(content))
        return str(path)

    return run


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        (lambda content: [box.update(category_id=3) for box in content['annotations']], 'class'),
        (lambda content: content.update(annotations=content['annotations'][:4]), 'sample'),
    ],
    ids=['one class', 'four boxes'],
)
def test_too_little_to_score_costs_a_test_no_metric(detector_cfg, build_runner, tmp_path, relabelled, change, match):
    cfg = detector_cfg(tmp_path / 'run', hooks=[SLS])
    cfg.test_dataloader.dataset.ann_file = cfg.test_evaluator.ann_file = relabelled(change)
    assert 'coco/bbox_mAP' in build_runner(cfg).test()
    assert re.search(f'no index is written: .*{match}', log_of(tmp_path / 'run'))
    assert not (tmp_path / 'run/pruning_index.json').exists()


@pytest.mark.parametrize('interval', [0, -1])
def test_bad_interval_is_refused(interval):
    with pytest.raises(ValueError, match=rf'interval.*{interval}'):
        SLSHook(interval=interval)


@pytest.mark.parametrize(
    ('setting', 'match'),
    [
        ({'sampler': 'NoSampler'}, 'NoSampler.*InstanceSampler'),
        ({'alpha': 0}, 'alpha'),
        ({'alpha': 1.5}, 'alpha'),
        ({'scope': 'blocks'}, 'scope'),
        ({'reference': 'middle'}, 'reference'),
        ({'min_depth': -1}, 'min_depth'),
        ({'max_drop': -1}, 'max_drop is -1'),
        ({'max_drop': 1}, "max_drop is 1 points, but the curve counts silhouette.*'probe'"),
        ({'max_samples': 0}, 'max_samples'),
        ({'max_samples': 9}, 'max_samples=9'),
        ({'perplexity': 0}, 'perplexity'),
        ({'max_samples': 'many'}, "max_samples='many'"),
        ({'seed': -1}, 'seed is -1'),
        ({'n_jobs': -1}, 'n_jobs is -1'),
        ({'sampler': {'type': 'InstanceSampler', 'masks': True}}, 'masks.*its arguments are use_masks'),
    ],
)
def test_bad_settings_are_refused_before_training(detector_cfg, build_runner, tmp_path, setting, match):
    runner = build_runner(detector_cfg(tmp_path, hooks=[{**SLS, **setting}]))
    with pytest.raises(ValueError, match=match):
        runner.train()
    assert runner.iter == 0


def test_a_stock_backbone_is_refused_before_training(detector_cfg, build_runner, tmp_path):
    cfg = detector_cfg(tmp_path, hooks=[SLS])
    for name in ('base_checkpoint', 'adapter'):
        cfg.model.backbone.pop(name)
    cfg.model.backbone.type = 'SwinTransformer'
    runner = build_runner(cfg)
    with pytest.raises(ValueError, match='PrunedSwinTransformer'):
        runner.train()
    assert runner.iter == 0


def test_a_data_set_of_one_class_without_background_is_refused_before_training(detector_cfg, build_runner, tmp_path):
    cfg = detector_cfg(tmp_path, hooks=[{**SLS, 'sampler': {'type': 'InstanceSampler', 'background': False}}])
    cfg.val_dataloader.dataset.metainfo = {'classes': ('0',)}
    runner = build_runner(cfg)
    with pytest.raises(ValueError, match=r"one class \('0',\)"):
        runner.train()
    assert runner.iter == 0


def test_a_detector_of_one_class_is_scored_against_background(detector_cfg, build_runner, tmp_path, relabelled):
    def one_class(content):
        content['categories'] = content['categories'][:1]
        for box in content['annotations']:
            box['category_id'] = content['categories'][0]['id']

    cfg = detector_cfg(tmp_path / 'run', hooks=[SLS])
    cfg.test_dataloader.dataset.ann_file = cfg.test_evaluator.ann_file = relabelled(one_class)
    cfg.test_dataloader.dataset.metainfo = {'classes': ('0',)}
    cfg.model.bbox_head.num_classes = 1
    build_runner(cfg).test()
    provenance = PruningIndex.load(tmp_path / 'run/pruning_index.json').provenance
    assert provenance['classes'] == 2
    assert provenance['counts']['kept'] == provenance['samples']
    assert provenance['counts']['images'] == 7


def test_a_metric_that_needs_labels_is_warned_of(detector_cfg, build_runner, tmp_path):
    """VOCMetric ends in a KeyError; why stands before it."""
    cfg = detector_cfg(tmp_path, hooks=[SLS])
    cfg.test_evaluator = {'type': 'VOCMetric'}
    steps = cfg.test_dataloader.dataset.pipeline
    cfg.test_dataloader.dataset.pipeline = [step for step in steps if step['type'] != 'LoadAnnotations']
    with pytest.raises(KeyError):
        build_runner(cfg).test()
    assert re.search('this test run will not be scored: .*comes without ground truth', log_of(tmp_path))


def test_a_run_without_validation_says_that_it_writes_no_index(detector_cfg, build_runner, tmp_path, caplog):
    cfg = detector_cfg(tmp_path, hooks=[SLS], epochs=1)
    for name in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg.pop(name)
    cfg.default_hooks.checkpoint.pop('save_best')
    build_runner(cfg).train()
    assert not (tmp_path / 'pruning_index.json').exists()
    logs = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    assert 'SLSHook: this run has no validation' in logs


@pytest.mark.parametrize('hook', [SLS, {'type': 'mmsls.SlimCheckpointHook'}])
def test_a_neck_that_takes_more_than_there_is_is_named(detector_cfg, build_runner, tmp_path, hook):
    cfg = detector_cfg(tmp_path, hooks=[hook], backbone={'out_indices': (1, 2)})
    runner = build_runner(cfg)
    with pytest.raises(
        ValueError, match=r'model\.neck: FPN takes \d features, and the backbone gives 2: set out_indices'
    ):
        runner.train()
    assert runner.iter == 0


def test_the_home_folder_in_out_file(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert SLSHook(out_file='~/index.json').out_file == str(tmp_path / 'index.json')
    assert SLSHook(out_file='~index.json').out_file == '~index.json'
