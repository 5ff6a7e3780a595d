"""Configs by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsls.files.named_configs import configs_of, named_config

ROOT = Path(__file__).resolve().parents[2]


def test_every_config_of_the_checkout_has_a_name():
    for path in (ROOT / 'configs').rglob('*.py'):
        assert named_config(f'mmsls::{path.relative_to(ROOT / "configs").as_posix()}').read_text() == path.read_text()


@pytest.mark.parametrize('package', ['mmdet', 'mmseg', 'mmpretrain'])
def test_the_configs_of_a_toolbox_have_names_too(package):
    assert named_config(f'{package}::_base_/default_runtime').parent.parent == configs_of(package)


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('mmsls::camvid/tun.py', 'nearest: mmsls::camvid/tune.py'),
        ('mmsls::upernet', 'nearest: mmsls::seg/upernet_'),
        ('mmsls::', "mmsls has no ''; "),
        ('mmsls::zzz', 'configs'),
        ('nix::demo/tune.py', "no package 'nix' with configs"),
        ('json::demo/tune.py', "no package 'json' with configs"),
        ('::demo/tune.py', "no package '' with configs"),
        ('a.b::demo/tune.py', "no package 'a.b' with configs"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_those_nearest(name, said):
    with pytest.raises(FileNotFoundError, match=r'^config: ') as raised:
        named_config(name)
    assert said in str(raised.value)
