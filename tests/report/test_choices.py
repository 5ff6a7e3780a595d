"""The table of choices, in texts."""

from __future__ import annotations

import pytest
from rich.console import Console

from mmsls.cost.by_depth import DepthCost, DepthCosts
from mmsls.pruning_index import PruningIndex
from mmsls.pruning_index.choosing import by_hand
from mmsls.report.choices import basis, choice_cells, choice_table
from mmsls.scoring.curve import Curve

VIT = {'type': 'PrunedVisionTransformer', 'embed_dims': 192, 'depths': [3]}
COSTS = DepthCosts(
    VIT, 'a machine', 2, (64, 96), '', (DepthCost((3,), 10**6, 2 * 10**9, 0.02), DepthCost((1,), 10**5, 10**9, 0.01))
)


@pytest.fixture
def index():
    return PruningIndex.create(scores=Curve.from_lists([[50.0, 70.0, 69.0]], 'points'), backbone=VIT, max_drop=1)


def test_every_depth_has_its_line(index):
    assert choice_cells(index, COSTS) == [
        ('', '3', '-', '69.00', '1.00', '1.000', '2.000', '20.0', '1.00'),
        ('*', '2', 'max_drop 0', '70.00', '0.00', '-', '-', '-', '-'),
        ('', '1', 'max_drop 20', '50.00', '20.00', '0.100', '1.000', '10.0', '0.50'),
    ]


def test_what_no_rule_gives_has_a_line_where_it_is_kept():
    curve = Curve.from_lists([[50.0, 70.0], [60.0, 70.0]], 'points')
    swin = {'type': 'SwinTransformer', 'embed_dims': 8, 'depths': [2, 2]}
    index = by_hand(PruningIndex.create(scores=curve, backbone=swin, max_drop=1, scope='stage', min_depth=1), (1, 2))
    lines = choice_cells(index, None)
    assert [line[1] for line in lines] == ['2-2', '2-1', '1-2', '1-1']
    assert lines[2][:5] == ('*', '1-2', 'by hand', '50.00', '20.00')


def test_as_built_is_said(index):
    assert 'time measured on one test image of 64 x 96 on a machine, 2 threads, weights as built' in ' '.join(
        basis(index, COSTS)
    )


@pytest.mark.parametrize('width', [40, 120])
def test_a_narrow_terminal_has_all_of_it(index, width):
    console = Console(width=width, record=True, file=open('/dev/null', 'w'))  # noqa: SIM115
    console.print(choice_table(index, None))
    text = console.export_text()
    assert '69.00' in text
    assert 'GMACs' not in text
    assert all(len(line) <= width for line in text.splitlines())
