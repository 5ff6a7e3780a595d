"""Runs side by side."""

from __future__ import annotations

import re

import pytest

from mmsls.report.compare import write_comparison
from mmsls.report.figures import Point, frontier

ROWS = [
    {'name': 'tuned', 'depths': [6], 'metrics': {'mIoU': 51.2}, 'macs': 10**9, 'latency': 0.02},
    {'name': 'retrained', 'depths': [4], 'metrics': {'mIoU': 53.0}, 'macs': 7 * 10**8, 'latency': 0.015},
]


def cells(text):
    rows = re.findall(r'<tr>(.*?)</tr>', text[text.index('class="side"') : text.index('</table>')], re.DOTALL)
    return [re.findall(r'<t[hd]>(.*?)</t[hd]>', row) for row in rows]


def test_tasks_and_settings_stand_side_by_side(leave, index_of, tmp_path):
    points = index_of((40, 50, 51, 51.5), unit='points', criterion='Bridged', about={'dataset': '<x>'}, max_drop=1)
    runs = [leave('cells', rows=ROWS), leave('roads', points, with_maps=False) / 'pruning_index.json']
    page = write_comparison(runs, tmp_path / 'compare.html')
    text = page.read_text(encoding='utf-8')
    header, one, other = cells(text)
    assert header == ['', 'run', 'data set', 'adapter', 'decided by', 'kept', 'of', 'metric', 'tuned', 'last', 'time']
    assert one[:8] == [
        'A',
        'cells',
        'CocoDataset(val.json)',
        'mmsls.Convpass',
        'SLS, alpha 0.3, scope model',
        '4',
        '6',
        'mIoU',
    ]
    assert one[8:] == ['51.200', '53.000', '0.75']
    assert other[:7] == [
        'B',
        'roads',
        '&lt;x&gt;',
        'mmsls.Convpass',
        'Bridged, max_drop 1 points, scope model',
        '3',
        '4',
    ]
    assert [unit for unit in ('silhouette', 'points') if f'Curves, in {unit}' in text] == ['silhouette', 'points']
    assert text.count('<img src="data:') == 2  # the last kept block and the top one
    ids = re.findall(r' id="([^"]+)"', text)
    assert {'a', 'b'} <= set(ids)


def test_curves_of_one_unit_share_a_figure(leave, index_of, tmp_path):
    runs = [leave('one', with_maps=False), leave('two', index_of((0.1, 0.2, 0.3)), with_maps=False)]
    text = write_comparison(runs, tmp_path / 'compare.html').read_text()
    assert text.count('Curves, in silhouette') == 1
    assert 'share of the depth' in text  # of backbones that differ


@pytest.mark.parametrize('number', [1, 27])
def test_a_page_compares_2_to_26_runs(tmp_path, number):
    with pytest.raises(ValueError, match=f'{number} runs are given; a page compares 2 to 26'):
        write_comparison([tmp_path] * number, tmp_path / 'compare.html')


def test_what_nothing_beats_is_the_frontier():
    points = [Point('dear', 3, 3), Point('cheap', 1, 1), Point('worse', 2, 1), Point('same', 3, 3)]
    assert [point.name for point in frontier(points)] == ['cheap', 'dear']
