"""The text of `mmsls doctor`."""

from __future__ import annotations

from dataclasses import replace

from mmsls.environment.checks import Finding
from mmsls.environment.facts import Facts
from mmsls.environment.telling import told

FACTS = Facts(
    '3.11.7',
    system='Linux, x86_64',
    mmsls='0.1.0 (here)',
    versions={'torch': '2.13.0', 'onedl-mmcv': '2.3.6', 'mmcv': '2.1.0'},
    caches={'TORCH_HOME': ('/c', '')},
)


def test_what_is_installed_and_what_is_not():
    lines = told(FACTS, []).splitlines()
    assert lines[:3] == ['mmsls         0.1.0 (here)', 'Python        3.11.7 on Linux, x86_64', 'torch         2.13.0']
    assert 'mmcv          2.3.6 (onedl-mmcv), 2.1.0 (mmcv)' in lines
    assert 'mmdet         -' in lines
    assert 'mmcv ops      compiled; nms runs' in lines
    assert 'CUDA          -, no device' in lines
    assert lines[-1] == 'nothing is wrong'


def test_what_is_wrong_is_counted():
    lines = told(FACTS, [Finding(True, 'a'), Finding(True, 'b'), Finding(False, 'c')]).splitlines()
    assert lines[-4:] == ['WRONG: a', 'WRONG: b', 'note: c', '2 wrong']


def test_what_lacks():
    facts = replace(
        FACTS, failures={'mmcv._ext': 'x'}, caches={'TORCH_HOME': ('/c', 'OSError: y')}, gpu='H100', built_for='13.0'
    )
    lines = told(facts, []).splitlines()
    assert 'mmcv ops      not compiled' in lines
    assert 'cache         /c (cannot be written to)' in lines
    assert 'CUDA          13.0, H100' in lines
    assert 'mmcv ops      -' in told(replace(FACTS, versions={}), []).splitlines()


def test_the_stack_and_its_known_faults():
    official = told(replace(FACTS, versions={'torch': '2.5.1', 'mmengine': '0.10.7'}), []).splitlines()
    assert "stack         OpenMMLab's own releases" in official
    assert sum(line.startswith('known: ') for line in official) == 2
    onedl = told(replace(FACTS, versions={'torch': '2.13.0', 'onedl-mmengine': '0.10.12'}), []).splitlines()
    assert 'stack         maintained forks (onedl-*)' in onedl
    assert any(line.startswith("known: `_base_ = 'mmseg::...'` is not found") for line in onedl)
    assert 'stack         both stacks, which breaks both' in told(FACTS, []).splitlines()
    assert 'stack         -' in told(replace(FACTS, versions={}), []).splitlines()
