from __future__ import annotations

import enum
import io
import re
from collections import OrderedDict, UserDict, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from mmsls.files.plain import plain

Point = namedtuple('Point', 'x y')


class Level(enum.IntEnum):
    HIGH = 3


class Odd:
    """Nothing plain."""


def saved_and_read(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        ({3, 'a', None, (1, 2)}, [None, 3, 'a', (1, 2)]),
        ({10, 2}, [2, 10]),
        (frozenset({'b', 'a'}), ['a', 'b']),
        ({np.int64(1): 'one', np.str_('x'): np.bool_(True)}, {1: 'one', 'x': True}),
        ({(np.int64(1), 'a'): 1}, {(1, 'a'): 1}),
        (Point(np.float32(1.5), 2), (1.5, 2)),
        (UserDict(a=[np.arange(2)]), {'a': [[0, 1]]}),
        (np.array([Point(1, 2), None], dtype=object), [(1, 2), None]),
        (np.longdouble(0.5), 0.5),
        (Path('a/b'), 'a/b'),
        (Level.HIGH, 3),
        (OrderedDict(a=torch.float16), {'a': torch.float16}),
        (torch.Size([1, 2]), torch.Size([1, 2])),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_a_plain_form_gets_it(value, expected):
    found = saved_and_read(plain(value))
    assert found == expected
    assert type(found) is type(expected)


def holding_itself():
    content = {}
    content['self'] = content
    return content


@pytest.mark.parametrize(
    ('odd', 'named'),
    [
        (Odd(), 'test_plain.Odd'),
        ([1, Odd()], r'\[1\] is a .*Odd'),
        (lambda: 0, 'function'),
        ({1, Odd}, 'is a builtins.type'),
        (np.datetime64('2020-01-01'), 'datetime.date'),
        (holding_itself(), 'holds itself'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_none_is_left_out_by_name(odd, named, said):
    content = plain({'meta': {'odd': odd, 'kept': 1}}, 'checkpoint')
    assert saved_and_read(content)['meta']['kept'] == 1
    assert 'Odd' not in str(content)
    assert "checkpoint['meta']['odd']" in ''.join(said)
    assert re.search(named, ''.join(said))


def test_a_key_without_a_plain_form_is_left_out_by_name(said):
    assert plain({Odd: 1, 'b': 2}, 'meta') == {'b': 2}
    assert 'meta' in ''.join(said)
    with pytest.raises(ValueError, match=r'meta is a .*Odd'):
        plain(Odd(), 'meta')
