"""Drawn at random, not damaged: configs of any structure are data or refused, and what is written reads back."""

from __future__ import annotations

import ast
import json
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutating import CANARY

from mmsls.deploy.config_check import checked_config
from mmsls.deploy.literal_config import HEADER, literal, read_literals, write_literals
from mmsls.deploy.task_config import from_json, to_json
from mmsls.files.reading import parse_json

NAMES = st.sampled_from(
    ['RetinaNet', 'FPN', 'BN', 'mmdet.FPN', 'os.system', f'{CANARY}.sing', CANARY, 'mmsls.Convpass', 'builtins.exec']
)
KEYS = st.sampled_from(
    [
        'type',
        '_scope_',
        'conv_type',
        'init_cfg',
        'norm_cfg',
        'checkpoint',
        'nms',
        'pipeline',
        'imports',
        'base_checkpoint',
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | NAMES
FINITE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def nests(leaves, keys):
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(keys, inner, max_size=4)
            | st.lists(inner, max_size=3).map(tuple)
        ),
        max_leaves=12,
    )


def outcome(function, value):
    """What a function returns, or what it says against its argument."""
    try:
        return function(value), ''
    except ValueError as error:
        return None, str(error)


def types_in(value):
    if isinstance(value, dict):
        return [name for key, item in value.items() for name in ([item] if key == 'type' else types_in(item))]
    return [name for item in value for name in types_in(item)] if isinstance(value, list | tuple) else []


@QUICK
@given(
    nests(LEAVES, KEYS | st.text(max_size=5)),
    st.sampled_from(['model', 'test_pipeline', 'test_dataloader', 'custom_imports', 'default_scope']),
)
def test_any_config_is_data_or_refused(value, place):
    config = {'default_scope': 'mmdet', 'model': {'type': 'RetinaNet'}, place: value}
    found, said = outcome(checked_config, config)
    assert said.startswith('config') or not said
    if found:
        honest = {'RetinaNet', 'FPN', 'BN', 'mmdet.FPN', 'mmsls.Convpass'}
        assert set(types_in({key: found[key] for key in ('model', 'test_pipeline') if key in found})) <= honest
        assert 'init_cfg' not in json.dumps(to_json(found['model']))
    assert CANARY not in sys.modules


@QUICK
@given(
    st.dictionaries(
        st.sampled_from(['model', 'test_pipeline']), nests(FINITE, st.text() | st.integers() | st.booleans())
    )
)
def test_literals_read_back(values):
    text = HEADER + ''.join(f'{name} = {literal(value)}\n' for name, value in values.items())
    assert all(isinstance(node, ast.Assign) for node in ast.parse(text).body)
    assert repr(read_literals(text)) == repr(values)


@QUICK
@given(st.text(max_size=20))
def test_no_name_of_a_setting_is_code(tmp_path_factory, name):
    path = tmp_path_factory.mktemp('literals') / 'config.py'
    if name.isidentifier():
        return
    with pytest.raises(ValueError, match='no name of a setting'):
        write_literals({name: 1}, path)
    assert not path.exists()


@QUICK
@given(nests(FINITE, st.text().filter(lambda key: not key.startswith('__')) | st.integers()))
def test_json_keeps_configs(value):
    assert repr(from_json(parse_json(json.dumps(to_json(value))))) == repr(value)


@QUICK
@given(nests(LEAVES, st.sampled_from(['__tuple__', '__pairs__', 'a'])))
def test_marks_are_read_or_refused(value):
    _, said = outcome(from_json, json.loads(json.dumps(value)))
    assert 'holds' in said or not said
