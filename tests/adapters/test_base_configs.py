from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmsls.adapters import normalise_adapter_cfg
from mmsls.registry import ADAPTERS

FOLDER = Path(__file__).resolve().parents[2] / 'configs/_base_/adapters'


@pytest.mark.parametrize('name', ADAPTERS.module_dict)
def test_every_method_has_a_base_config_of_its_name(name):
    cfg = Config.fromfile(FOLDER / f'{name.lower()}.py')
    assert normalise_adapter_cfg(cfg.adapter)['type'] == name
    assert cfg.adapter.type == f'mmsls.{name}'
    assert len(list(FOLDER.glob('*.py'))) == len(ADAPTERS.module_dict)
