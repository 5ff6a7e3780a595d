"""The command-line tools, each as a process of its own, as a user calls them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from warm_process import run_script

from mmsls.pruning_index import PruningIndex

ROOT = Path(__file__).resolve().parents[2]
HOOKS = [
    {'type': 'mmsls.SLSHook', 'max_samples': 100, 'n_jobs': 1},
    {'type': 'mmsls.SlimCheckpointHook'},
]


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run_script(ROOT / 'tools' / name, *arguments)


@pytest.fixture(scope='module')
def config(tmp_path_factory, detector_cfg):
    folder = tmp_path_factory.mktemp('tools')
    cfg = detector_cfg(folder / 'run', hooks=HOOKS, epochs=1)
    cfg.default_hooks.checkpoint.pop('save_best')
    cfg.dump(folder / 'config.py')
    return folder / 'config.py'


def test_chain_and_its_second_call(config, tmp_path):
    done = run('run_sls.py', config, '--work-dir', tmp_path, '--alpha', 0.5)
    assert done.returncode == 0, done.stderr[-3000:]
    for text in ('tuned', 'score', 'measure', 'GMACs', 'kept (', 'trainable params: '):
        assert text in done.stdout
    assert 'Average Precision' not in done.stdout
    assert 'Average Precision' in (tmp_path / 'console.log').read_text()
    assert PruningIndex.load(tmp_path / 'pruning_index.json').alpha == 0.5
    for name in ('results.md', 'results.json', 'score_curve.png', 'task/mmsls.json', 'task/adapters.safetensors'):
        assert (tmp_path / name).stat().st_size > 0
    again = run('run_sls.py', config, '--work-dir', tmp_path, '--alpha', 0.5)
    assert again.returncode == 0, again.stderr[-3000:]
    assert 'tuned (done before)' in again.stdout
    other = run('run_sls.py', config, '--work-dir', tmp_path, '--cfg-options', 'optim_wrapper.optimizer.lr=0.5')
    assert other.returncode != 0
    assert other.stderr.splitlines()[-1].startswith('error: work_dir')
    assert 'Traceback' not in other.stderr


@pytest.mark.long
def test_chain_stops_after_scoring_and_takes_another_alpha(config, tmp_path):
    done = run('run_sls.py', config, '--work-dir', tmp_path, '--until', 'score')
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'run again without --until' in done.stdout
    assert (tmp_path / 'score_curve.png').exists()
    assert not (tmp_path / 'task').exists()
    again = run('run_sls.py', config, '--work-dir', tmp_path, '--alpha', 0.9, '--reference', 'peak')
    assert again.returncode == 0, again.stderr[-3000:]
    assert 'tuned (done before)' in again.stdout
    assert PruningIndex.load(tmp_path / 'pruning_index.json').reference == 'peak'
    assert (tmp_path / 'task').exists()


@pytest.mark.long
def test_chain_decides_in_points_and_says_how_sure(config, tmp_path):
    hook = ('custom_hooks.0.criterion=ncm',)
    until = ('--until', 'score', '--max-drop', 5)
    done = run('run_sls.py', config, '--work-dir', tmp_path, *until, '--cfg-options', *hook)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'blocks at max_drop 5 points, scope stage' in done.stdout
    assert 'sure: of 500 bootstraps' in done.stdout
    again = run(
        'run_sls.py', config, '--work-dir', tmp_path, '--until', 'score', '--max-drop', 100, '--cfg-options', *hook
    )
    assert again.returncode == 0, again.stderr[-3000:]
    index = PruningIndex.load(tmp_path / 'pruning_index.json')
    assert index.max_drop == 100.0
    # With so few samples a stage may guess no better than chance: it stays, and the others keep one block.
    left = (depth if threshold is None else 1 for depth, threshold in zip((2, 2, 3, 2), index.thresholds, strict=True))
    assert index.kept_depths == tuple(left) != (2, 2, 3, 2)
    assert 'stability' not in index.provenance


def test_chain_that_bridges_and_the_bridge_alone(config, tmp_path):
    chain = tmp_path / 'chain'
    done = run('run_sls.py', config, '--work-dir', chain, '--criterion', 'bridged', '--max-drop', 100, '--bridge')
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'bridged, before any retraining: ' in done.stdout
    index = PruningIndex.load(chain / 'pruning_index.json')
    assert (index.criterion['type'], index.kept_depths) == ('Bridged', (1, 1, 1, 1))
    assert {'metric', 'whole', 'together'} <= set(index.provenance)
    rows = [line.split('|')[1].strip() for line in (chain / 'results.md').read_text().splitlines()[2:]]
    assert rows == ['full', 'tuned', 'pruned', 'bridged', 'retrained']
    tuned, out = next((chain / 'tuned').glob('*.pth')), tmp_path / 'bridged.pth'
    alone = run(
        *('bridge.py', config, tuned, '--index', chain / 'pruning_index.json', '--out', out, '--images', 2),
        *('--work-dir', tmp_path),
    )
    assert alone.returncode == 0, alone.stderr[-3000:]
    assert f'wrote {out}' in alone.stdout.replace('\n', '')
    options = (f'model.backbone.pruning_index={chain / "pruning_index.json"}', 'model.backbone.bridge=True')
    tested = run('test.py', config, out, '--work-dir', tmp_path / 'test', '--cfg-options', *options)
    assert tested.returncode == 0, tested.stderr[-3000:]
    wrong = run('bridge.py', config, tuned, '--work-dir', tmp_path)
    assert wrong.returncode != 0
    assert wrong.stderr.splitlines()[-1].startswith('error: bridge: kept_depths (2, 2, 3, 2) of (2, 2, 3, 2) removes')


def test_chain_decides_on_the_untuned_base_and_trains_once(config, tmp_path):
    given = ('--work-dir', tmp_path, '--decide-first', '--criterion', 'probe', '--max-drop', 100)
    done = run('run_sls.py', config, *given)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'decided_first' in (tmp_path / 'results.md').read_text()
    assert not (tmp_path / 'tuned').exists()
    kept = PruningIndex.load(tmp_path / 'task/pruning_index.json').kept_depths
    # Whatever may be lost: a stage of which no block is above chance stays whole.
    assert kept == PruningIndex.load(tmp_path / 'pruning_index.json').kept_depths
    refused = run('run_sls.py', config, *given, '--bridge')
    assert refused.stderr.splitlines()[-1].startswith('error: --decide-first trains once')
    alone = run('score.py', config, '--criterion', 'probe', '--work-dir', tmp_path / 'alone')
    assert alone.returncode == 0, alone.stderr[-3000:]
    theirs, ours = (PruningIndex.load(folder / 'pruning_index.json') for folder in (tmp_path, tmp_path / 'alone'))
    assert theirs.scores == ours.scores
    assert ours.provenance['checkpoint'] == 'untuned'


def test_train_score_test(config, tmp_path):
    outputs = []
    for command in (
        ('train.py', config, '--work-dir', tmp_path),
        (
            'score.py',
            config,
            tmp_path / 'epoch_1.pth',
            '--split',
            'train',
            '--out',
            tmp_path / 'train.json',
            '--work-dir',
            tmp_path,
        ),
        ('test.py', config, tmp_path / 'epoch_1.pth', '--work-dir', tmp_path / 'test'),
    ):
        done = run(*command)
        assert done.returncode == 0, done.stderr[-3000:]
        outputs.append(done.stdout)
    assert PruningIndex.load(tmp_path / 'train.json').provenance['split'] == 'train'
    assert PruningIndex.load(tmp_path / 'pruning_index.json').provenance['split'] == 'val'
    assert PruningIndex.load(tmp_path / 'test/pruning_index.json').provenance['split'] == 'test'
    assert f'report: {tmp_path / "train.report.html"}' in outputs[1].replace('\n', '')
    for name in ('report.html', 'train.report.html', 'train.maps.npz', 'depth_costs.json', 'test/report.html'):
        assert (tmp_path / name).stat().st_size > 0
    page = tmp_path / 'compare.html'
    done = run('report.py', tmp_path, tmp_path / 'train.json', tmp_path / 'test', '--out', page)
    assert done.returncode == 0, done.stderr[-3000:]
    assert '3 runs side by side' in page.read_text()
    wrong = run('report.py', tmp_path / 'nowhere')
    assert wrong.stderr.startswith(f'error: pruning index {tmp_path / "nowhere"} does not exist; ')
    assert 'Traceback' not in wrong.stderr


def test_wrong_input_is_one_line(config, tmp_path):
    done = run('train.py', config, '--work-dir', tmp_path, '--cfg-options', 'model.backbone.adapter.rank=0')
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == 'error: adapter.rank must be a positive integer, got 0'
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    ('tool', 'words'),
    [('test.py', ['gone.pth']), ('score.py', ['gone.pth']), ('train.py', ['--resume', 'gone.pth'])],
)
def test_a_checkpoint_that_is_not_there_is_one_line(config, tmp_path, tool, words):
    done = run(tool, config, *words, '--work-dir', tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: checkpoint: no file at 'gone.pth'"
    assert 'Traceback' not in done.stderr


def test_a_head_that_is_not_linear_is_one_line(config, tmp_path):
    done = run('run_sls.py', config, '--refit-head', '--work-dir', tmp_path / 'chain')
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith('error: refit: RetinaHead: ')
    assert not (tmp_path / 'chain/tuned').exists()


def test_a_head_is_refitted(segmentor_cfg, tmp_path):
    segmentor_cfg(tmp_path / 'run', backbone={'kept_depths': (2, 1, 1, 0)}, iterations=2).dump(tmp_path / 'config.py')
    trained = run('train.py', tmp_path / 'config.py')
    assert trained.returncode == 0, trained.stderr[-3000:]
    done = run('refit.py', tmp_path / 'config.py', tmp_path / 'run/iter_2.pth', '--images', 3)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'UPerHead: last layer ' in done.stdout
    assert (tmp_path / 'run/refitted.pth').stat().st_size > 0


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (('--as-published',), 'run_sls.py: error: --as-published goes without '),
        (('--decide-first', '--criterion', 'probe', '--max-drop', '1'), 'error: --decide-first trains once'),
    ],
)
def test_distilling_goes_without_what_has_no_tuned_model_or_is_as_published(config, tmp_path, options, words):
    done = run('run_sls.py', config, '--distill', *options, '--work-dir', tmp_path / 'chain')
    assert done.stderr.splitlines()[-1].startswith(words)
    assert '--distill' in done.stderr.splitlines()[-1]
    assert not (tmp_path / 'chain').exists()


def test_a_rule_out_of_range_leaves_no_folder(config, tmp_path):
    done = run('run_sls.py', config, '--alpha', '1.5', '--work-dir', tmp_path / 'chain')
    assert done.stderr.splitlines()[-1].startswith('error: alpha is 1.5')
    assert not (tmp_path / 'chain').exists()


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (('--max-drop', '1'), 'error: max_drop is 1 points, but the curve counts silhouette'),
        (('--max-drop', '1', '--alpha', '0.5'), 'error: max_drop is 1.0 and alpha is 0.5'),
        (('--max-drop', '-1'), 'error: max_drop is -1.0'),
    ],
)
def test_a_max_drop_that_cannot_be_leaves_no_folder(config, tmp_path, options, words):
    done = run('run_sls.py', config, *options, '--work-dir', tmp_path / 'chain')
    assert done.stderr.splitlines()[-1].startswith(words)
    assert not (tmp_path / 'chain').exists()


def test_benchmark_refuses_two_toolboxes(config, tmp_path):
    (tmp_path / 'other.py').write_text(f"_base_ = {str(config)!r}\ndefault_scope = 'mmseg'\n")
    done = run('benchmark.py', config, tmp_path / 'other.py')
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith('error: configs: they are for mmdet and mmseg')


def test_unexpected_errors_keep_their_traceback(config, tmp_path):
    done = run('train.py', config, '--work-dir', tmp_path, '--cfg-options', 'model.neck.type=NoSuchNeck')
    assert done.returncode == 1
    assert 'Traceback' in done.stderr


def test_benchmark_compares_two_configs(config, detector_cfg, tmp_path):
    pruned = detector_cfg(tmp_path, backbone={'kept_depths': (1, 1, 1, 1)})
    pruned.dump(tmp_path / 'short.py')
    done = run('benchmark.py', config, tmp_path / 'short.py')
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split(' | ') for line in done.stdout.splitlines() if '.py' in line]
    assert [line[1] for line in lines] == ['2-2-3-2', '1-1-1-1']
    assert float(lines[1][3]) < float(lines[0][3])
