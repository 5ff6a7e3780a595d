"""Environments that are known not to work, as plain data, and what is said about each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmsls.environment.checks import findings
from mmsls.environment.facts import Facts

ONEDL = {
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmdetection': '3.5.1',
    'onedl-mmsegmentation': '1.4.2',
    'onedl-mmpretrain': '1.3.6',
}
OFFICIAL = {'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmdet': '3.3.0', 'mmsegmentation': '1.2.2', 'mmpretrain': '1.2.0'}
OTHERS = {'torchvision': '0.28.0', 'timm': '1.0.31', 'numpy': '2.2.6', 'scikit-learn': '1.9.1', 'safetensors': '0.8.0'}
GOOD = Facts('3.11.7', versions={'torch': '2.13.0', **OTHERS, **ONEDL}, gpu='a device')
NO_OPS = {'mmcv._ext': "ModuleNotFoundError: No module named 'mmcv._ext'"}


def without(*names: str) -> dict[str, str]:
    return {name: version for name, version in GOOD.versions.items() if name not in names}


def test_the_tested_set_is_good():
    assert findings(GOOD) == []


def test_the_official_set_under_an_older_torch_is_good():
    assert findings(replace(GOOD, versions={'torch': '2.5.1', **OTHERS, **OFFICIAL})) == []


WRONG = [
    ('old python', replace(GOOD, python='3.9.18'), 'Python 3.9.18 is not supported'),
    ('new python', replace(GOOD, python='3.13.0'), 'Python 3.13.0 is not supported'),
    ('no torch', replace(GOOD, versions=without('torch')), 'torch is not installed: pip install torch==='),
    ('old torch', replace(GOOD, versions={**GOOD.versions, 'torch': '2.0.1'}), 'torch 2.0.1 is older than 2.1'),
    (
        'no deps',
        replace(GOOD, versions=without('timm', 'safetensors')),
        'timm, safetensors not installed: pip install timm safetensors',
    ),
    ('old timm', replace(GOOD, versions={**GOOD.versions, 'timm': '0.9.16'}), 'timm 0.9.16 is older than 1.0.22'),
    (
        'both stacks',
        replace(GOOD, versions={**GOOD.versions, 'mmdet': '3.3.0'}),
        'onedl-mmpretrain and mmdet are in one environment under the same import names',
    ),
    (
        'no engine',
        replace(GOOD, versions=without('onedl-mmengine')),
        'mmengine is not installed: pip install onedl-mmengine',
    ),
    ('no mmcv', replace(GOOD, versions=without('onedl-mmcv')), 'mmcv is not installed: pip install onedl-mmcv'),
    ('no ops', replace(GOOD, failures=NO_OPS), 'MMCV_WITH_OPS=1 pip install --no-build-isolation'),
    ('nms', replace(GOOD, ops='RuntimeError: no kernel'), 'nms does not run: RuntimeError: no kernel'),
    (
        'no ops on the newest torch',
        replace(GOOD, versions={**GOOD.versions, 'torch': '2.14.0+cpu'}, failures=NO_OPS),
        'mmcv does not compile against torch 2.14.0+cpu',
    ),
    (
        'checkpoints',
        replace(GOOD, versions={'torch': '2.6.0', **OTHERS, **OFFICIAL}),
        'mmengine 0.10.7 cannot load its own checkpoints under torch 2.6.0',
    ),
    (
        'mmcv too new',
        replace(GOOD, versions={'torch': '2.5.1', **OTHERS, **OFFICIAL, 'mmcv': '2.2.0'}),
        'mmdet 3.3.0 and mmsegmentation 1.2.2 cannot be imported beside mmcv 2.2.0: MMCV_WITH_OPS=1 pip install '
        '--no-build-isolation mmcv==2.1.0',
    ),
    (
        'a host that does not import',
        replace(GOOD, failures={'mmdet': 'AssertionError: MMCV==2.2.0 is used but incompatible'}),
        'mmdet cannot be imported: AssertionError: MMCV==2.2.0',
    ),
    (
        'torchvision of another torch',
        replace(GOOD, failures={'torchvision': 'RuntimeError: operator torchvision::nms does not exist'}),
        'torchvision cannot be imported',
    ),
    ('cache', replace(GOOD, caches={'HF_HUB_CACHE': ('/c', 'PermissionError: x')}), 'to /c, where'),
]


@pytest.mark.parametrize(('facts', 'said'), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_bad_environment_is_told(facts, said):
    wrong = [finding.text for finding in findings(facts) if finding.wrong]
    assert any(said in text for text in wrong), wrong


def test_later_toolboxes_may_take_a_later_mmcv():
    versions = {'torch': '2.5.1', **OTHERS, **OFFICIAL, 'mmcv': '2.2.0', 'mmdet': '3.4.0', 'mmsegmentation': '1.3.0'}
    assert findings(replace(GOOD, versions=versions)) == []


def test_no_host_at_all_is_wrong_with_what_to_install():
    hosts = ('onedl-mmdetection', 'onedl-mmsegmentation', 'onedl-mmpretrain')
    found = findings(replace(GOOD, versions=without(*hosts)))
    assert [finding.wrong for finding in found] == [True] * 3
    assert all(f'pip install {host}' in finding.text for host, finding in zip(hosts, found, strict=True))


def test_one_host_is_enough():
    (first, second) = findings(replace(GOOD, versions=without('onedl-mmsegmentation', 'onedl-mmpretrain')))
    assert not first.wrong
    assert not second.wrong
    assert first.text == 'MMSegmentation (mmseg) is not installed: pip install onedl-mmsegmentation'


def test_beside_official_distributions_official_ones_are_recommended():
    versions = {name: version for name, version in OFFICIAL.items() if name not in ('mmengine', 'mmpretrain')}
    said = [finding.text for finding in findings(replace(GOOD, versions={'torch': '2.5.1', **OTHERS, **versions}))]
    assert said == [
        'mmengine is not installed: pip install mmengine',
        'MMPretrain (mmpretrain) is not installed: pip install mmpretrain',
    ]


@pytest.mark.parametrize(('built_for', 'why'), [('13.0', 'finds no CUDA device'), ('', 'is built for the CPU alone')])
def test_a_cpu_is_only_said(built_for, why):
    (finding,) = findings(replace(GOOD, gpu='', built_for=built_for))
    assert not finding.wrong
    assert finding.text == f'torch 2.13.0 {why}: everything runs on the CPU'


def test_the_newest_torch_with_ops_is_only_said():
    (finding,) = findings(replace(GOOD, versions={**GOOD.versions, 'torch': '2.14.1'}))
    assert not finding.wrong


def test_missing_ops_are_only_said_where_no_toolbox_needs_them():
    versions = without('onedl-mmdetection', 'onedl-mmsegmentation')
    found = findings(replace(GOOD, versions=versions, failures=NO_OPS))
    assert not any(finding.wrong for finding in found)
    assert any('mmcv has no compiled ops' in finding.text for finding in found)


def test_ops_are_not_missed_where_mmcv_itself_is_missing():
    found = findings(replace(GOOD, versions=without('onedl-mmcv'), failures=NO_OPS))
    assert [finding.text for finding in found] == ['mmcv is not installed: pip install onedl-mmcv']


def test_what_is_wrong_comes_first():
    found = findings(replace(GOOD, python='3.9.1', gpu='', caches={'TORCH_HOME': ('/c', 'OSError: x')}))
    assert [finding.wrong for finding in found] == [True, True, False]
