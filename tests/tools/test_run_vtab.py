"""tools/run_vtab.py as its users call it."""

from __future__ import annotations

import shutil

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models.backbones import VisionTransformer
from warm_process import run_script

from mmsls import runs
from mmsls.pruning_index import PruningIndex
from mmsls.vtab.digits import write_digits_task
from mmsls.vtab.settings import for_epochs, for_machine, for_task
from mmsls.vtab.task_run import TaskRun

LEAF = """# One task, tiny.
_base_ = '{root}/configs/cls/vtab/deit-tiny_convpass.py'
model = dict(
    backbone=dict(_delete_=True, type='PrunedVisionTransformer', arch={arch}, img_size=32, patch_size=8,
                  base_checkpoint='{base}', adapter=dict(type='mmsls.Convpass', rank=4)),
    head=dict(in_channels=32))
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
# On the CPU DDP wants no device, and mmengine names one by default.
model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None)
"""
ARCH = {'embed_dims': 32, 'num_layers': 4, 'num_heads': 2, 'feedforward_channels': 64}


@pytest.fixture(scope='module')
def leaf(tmp_path_factory, request, randomise):
    folder = tmp_path_factory.mktemp('vtab')
    torch.save(randomise(VisionTransformer(ARCH, img_size=32, patch_size=8)).state_dict(), folder / 'base.pth')
    write_digits_task(folder, {'train800': 60, 'val200': 20, 'test': 20})
    text = LEAF.format(root=request.config.rootpath, arch=ARCH, base=folder / 'base.pth')
    (folder / 'tiny.py').write_text(text)
    return folder


def command(root, leaf, *arguments):
    settings = ['--config', str(leaf / 'tiny.py'), '--workers', '0', '--data-root', str(leaf), '--epochs', '1']
    settings += ['--batch-size', '20', '--work-dir', str(leaf / 'out')]
    return [str(root / 'tools/run_vtab.py'), *settings, *arguments]


def call(root, leaf, *arguments):
    return run_script(*command(root, leaf, *arguments))


def test_a_table_from_one_command(leaf, request):
    done = call(request.config.rootpath, leaf, '--tasks', 'digits')
    assert done.returncode == 0, done.stderr
    table = (leaf / 'out' / 'table.md').read_text()
    assert '## digits' in table
    assert '| tuned | 0-3 |' in table
    assert table.strip() in done.stdout
    assert (leaf / 'out/digits/seed0/pruning_index.json').stat().st_size < 8192
    again = call(request.config.rootpath, leaf, '--tasks', 'digits', '--seeds', '1,1', '--workers', '1')
    assert again.returncode == 0, again.stderr
    (line,) = [line for line in (leaf / 'out' / 'table.md').read_text().splitlines() if line.startswith('| tuned')]
    assert '±' in line  # the first call's seed is in the table too


@pytest.fixture
def leaves(leaf, tmp_path):
    """A task of a user's own: 4 of the digits, under a made-up name."""
    folder = shutil.copytree(leaf / 'digits', tmp_path / 'leaves')
    for path in folder.glob('*.txt'):
        path.write_text('\n'.join(line for line in path.read_text().splitlines() if line.rpartition(' ')[2] < '4'))
    return folder


def test_a_folder_of_ones_own_is_a_task(leaf, leaves, request):
    arguments = ('--tasks', 'leaves', '--data-root', str(leaves.parent), '--work-dir', str(leaves / 'out'))
    done = call(request.config.rootpath, leaf, *arguments)
    assert done.returncode == 0, done.stderr
    assert '## leaves' in (leaves / 'out' / 'table.md').read_text()
    assert '## VTAB-1k' not in done.stdout
    (config,) = (leaves / 'out/leaves/seed0/tuned').glob('*.py')
    assert Config.fromfile(config).model.head.num_classes == 4


@pytest.mark.parametrize(
    ('spoil', 'said'),
    [
        (lambda folder: (folder / 'test.txt').unlink(), "error: task 'leaves': no list at"),
        (lambda folder: (folder / 'train800val200.txt').unlink(), "error: task 'leaves': no list at"),
        (lambda folder: (folder / 'train800val200.txt').write_text('a.png 0\nb.png 2'), 'no image is of class 1'),
        (lambda folder: (folder / 'train800val200.txt').write_text(''), 'the list is empty'),
        (lambda folder: (folder / 'test.txt').write_text('a.png 4'), "out of range: 'leaves' has 4 classes"),
    ],
)
def test_bad_lists_of_ones_own_end_with_one_line(leaf, leaves, request, spoil, said):
    spoil(leaves)
    arguments = ('--tasks', 'leaves', '--data-root', str(leaves.parent), '--work-dir', str(leaves / 'out'))
    done = call(request.config.rootpath, leaf, *arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert 'Traceback' not in done.stderr


def decide(leaf, folder):
    """Leave an index before the tool comes, so that something is pruned whatever a random ViT makes of digits."""
    cfg = for_machine(runs.load_config(str(leaf / 'tiny.py'), str(folder)), workers=0, batch_size=20)
    TaskRun(for_task(for_epochs(cfg, 1), 'digits', str(leaf)), folder / 'digits/seed1', None, 'digits', 1)
    vit = {'type': 'VisionTransformer', 'embed_dims': 32, 'depths': [4]}
    index = PruningIndex.create(
        scores={(0, block): score for block, score in enumerate((0.1, 0.6, 0.8, 0.9))}, backbone=vit
    )
    index.save(folder / 'digits/seed1/pruning_index.json')


@pytest.mark.long
def test_two_processes_make_one_table_and_one_goes_on(leaf, request, two_gloo_processes, tmp_path):
    arguments = ('--tasks', 'digits', '--seeds', '1', '--methods', 'random,full_depth', '--work-dir', str(tmp_path))
    decide(leaf, tmp_path)
    done = two_gloo_processes('tool', *command(request.config.rootpath, leaf, *arguments, '--launcher', 'pytorch'))
    table = (tmp_path / 'table.md').read_text()
    assert done.stdout.count(table.strip()) == 1
    assert [line.split('|')[1].strip() for line in table.splitlines()[4:]] == [
        'tuned',
        'SLS',
        'random',
        'full_depth',
    ]
    again = call(request.config.rootpath, leaf, *arguments)
    assert again.returncode == 0, again.stderr
    assert 'full_depth: test (done before)' in again.stdout


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (('--tasks', 'digits', '--methods', 'magic'), "error: methods: no method is called 'magic'"),
        (('--tasks', 'digits,eurosat'), "error: task 'eurosat': no list at"),
        (('--tasks', 'digits', '--config', 'nowhere.py'), "error: config: no file at 'nowhere.py'"),
        (('--tasks', 'digits', '--alpha', '2'), 'error: alpha'),
        (('--tasks', ''), '--tasks: name at least one'),
        (('--tasks', 'digits', '--seeds', 'a'), '--seeds: invalid'),
        (('--tasks', 'digits', '--batch-size', '0'), '--batch-size: 0 is not 1 or more'),
    ],
)
def test_bad_input_ends_with_one_line(leaf, request, arguments, said):
    done = call(request.config.rootpath, leaf, '--work-dir', str(leaf / 'refused'), *arguments)
    assert done.returncode != 0
    assert not list((leaf / 'refused').glob('*/*/tuned'))
    assert said in done.stderr
    assert 'Traceback' not in done.stderr
