"""Imports that worked in earlier releases."""

from __future__ import annotations

import importlib
import sys

import pytest

from mmsls._moved import MOVED, install


@pytest.mark.parametrize(('before', 'now'), MOVED.items())
def test_an_earlier_name_is_the_module_itself_and_warns(before, now):
    sys.modules.pop(before, None)
    with pytest.warns(DeprecationWarning, match=f'{before} is {now} now'):
        module = importlib.import_module(before)
    assert module is importlib.import_module(now)
    assert module.__name__ == module.__spec__.name == now


def test_other_names_are_as_absent_as_before():
    with pytest.raises(ModuleNotFoundError, match=r'mmsls\.pipe'):
        importlib.import_module('mmsls.pipe')


def test_it_looks_once():
    before = list(sys.meta_path)
    install()
    assert sys.meta_path == before
