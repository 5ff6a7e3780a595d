"""tools/run_vtab.py as its users call it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from mmpretrain.models.backbones import VisionTransformer

from mmsls.vtab.digits import write_digits_task

LEAF = """# One task, tiny.
_base_ = '{root}/configs/cls/vtab/deit-tiny_convpass.py'
model = dict(
    backbone=dict(_delete_=True, type='PrunedVisionTransformer', arch={arch}, img_size=32, patch_size=8,
                  base_checkpoint='{base}', adapter=dict(type='mmsls.Convpass', rank=4)),
    head=dict(in_channels=32))
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
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


def call(root, leaf, *arguments):
    command = [sys.executable, str(root / 'tools/run_vtab.py'), '--config', str(leaf / 'tiny.py'), '--workers', '0']
    command += ['--data-root', str(leaf), '--epochs', '1', '--batch-size', '20', '--work-dir', str(leaf / 'out')]
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(root)}
    return subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=leaf, env=env, timeout=300)


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
