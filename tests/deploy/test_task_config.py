from __future__ import annotations

import json

import pytest
from mmengine.config import Config
from torch import nn

from mmsls.deploy.task_config import backbone_config, from_json, inference_config, to_json


def test_json_keeps_tuples_lists_and_their_nesting():
    value = {'a': (1, (2.5, [None, ('x',)])), 'b': [], 'c': (), 'd': {'e': True}, 'label_map': {0: 255, 1: (0,)}}
    assert from_json(json.loads(json.dumps(to_json(value)))) == value
    assert from_json(json.loads(json.dumps(to_json(Config(value)._cfg_dict)))) == value


@pytest.mark.parametrize('value', [nn.Linear, {1: nn.Linear}, {'a': [{3}]}])
def test_what_is_no_plain_data_is_refused(value):
    with pytest.raises(ValueError, match=r'config: .* no plain data'):
        to_json(value)


def test_only_what_inference_needs_is_kept():
    pipeline = [{'type': 'Resize', 'scale': (4, 4)}]
    inner = {'type': 'Some', 'pipeline': pipeline, 'data_root': 'secret/', 'metainfo': {'classes': ('a',)}}
    cfg = Config(
        {
            'model': {'backbone': {'type': 'X'}},
            'default_scope': 'mmseg',
            'work_dir': 'secret',
            'test_pipeline': pipeline,
            'test_dataloader': {'batch_size': 1, 'dataset': {'type': 'RepeatDataset', 'dataset': inner}},
        }
    )
    kept = inference_config(cfg)
    assert set(kept) == {'model', 'default_scope', 'test_pipeline', 'test_dataloader'}
    assert kept['test_dataloader'] == {
        'dataset': {'type': 'Some', 'metainfo': {'classes': ('a',)}, 'pipeline': pipeline}
    }
    assert type(kept['model']['backbone']) is dict
    with pytest.raises(ValueError, match='no model'):
        inference_config(Config({'work_dir': 'x'}))


def test_a_pipeline_that_only_the_data_set_names_is_found_by_every_host():
    pipeline = [{'type': 'Resize'}]
    parts = {'type': 'ConcatDataset', 'datasets': [{'type': 'Some', 'pipeline': pipeline}]}
    kept = inference_config(Config({'model': {}, 'test_dataloader': {'dataset': parts}}))
    assert kept['test_pipeline'] == kept['test_dataloader']['dataset']['pipeline'] == pipeline


def test_the_backbone_is_found_by_its_dotted_name():
    cfg = {'model': {'detector': {'backbone': {'type': 'X'}}}}
    assert backbone_config(cfg, 'detector.backbone') == {'type': 'X'}
    with pytest.raises(ValueError, match=r'model\.backbone is None'):
        backbone_config(cfg, 'backbone')
