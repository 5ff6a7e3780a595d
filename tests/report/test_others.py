"""Other curves of the same weights: which files of a folder they are, and what a page has of them."""

from __future__ import annotations

import csv
import re
from dataclasses import replace

import pytest

from mmsls.features.also import OtherCurve
from mmsls.report.origin import Origin
from mmsls.report.others import leave_others, others_of
from mmsls.report.page import write_report

POINTS = {'unit': 'points', 'criterion': 'NCM', 'max_drop': 1}


@pytest.fixture
def ncm_of(index_of):
    """A function that makes the index of another criterion."""
    return lambda **about: index_of(
        (40, 50, 80, 90, 91, 90.5), **POINTS, about={'drop_errors': [[9, 8, 3, 1, 0, 1]], **about}
    )


@pytest.fixture
def folder(leave, index_of, ncm_of):
    """A run's folder with the curve of another criterion from the same samples."""
    made = leave(with_maps=False)
    leave_others(made / 'pruning_index.json', index_of(), [OtherCurve('NCM', ncm_of()), OtherCurve('KNN', None, 'no')])
    return made


def names(folder, index):
    remarks: list[str] = []
    return [other.path.name for other in others_of(folder / 'pruning_index.json', index, remarks)], remarks


def test_a_page_has_the_curves_of_all_criteria(folder, index_of):
    Origin(failed={'KNN': 'too <few>'}).save(folder / 'pruning_index.json', index_of())
    text = write_report(folder).read_text(encoding='utf-8')
    part = text[text.index('What other criteria say') : text.index('Maps of the blocks')]
    assert part.count('<svg class="figure"') == 2  # for wide and narrow pages
    assert 'NCM, max_drop 1 points, scope model' in part
    assert 'KNN has no curve here: too &lt;few&gt;' in part
    assert 'standard error' in part
    assert 'href="#criteria"' in text
    lines = list(csv.DictReader((folder / 'curves.csv').open()))
    assert [line['criterion'] for line in lines] == ['SLS'] * 6 + ['NCM'] * 6
    assert [line['standard_error'] for line in lines[6:]] == ['9.0', '8.0', '3.0', '1.0', '0.0', '1.0']
    assert (folder / 'curves.png').read_bytes().startswith(b'\x89PNG')
    assert b'<svg' in (folder / 'curves.svg').read_bytes()
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_a_run_alone_has_no_such_part(leave):
    made = leave(with_maps=False)
    assert 'What other criteria say' not in write_report(made).read_text()
    assert not (made / 'curves.csv').exists()


def test_what_is_of_the_same_weights_is_shown(folder, index_of, ncm_of):
    ours = index_of(about={'checkpoint': 'a.pth'})
    ncm_of(checkpoint='a.pth', seed=1).save(folder / 'bridged.json')
    ncm_of(checkpoint='b.pth', seed=2).save(folder / 'of_other_weights.json')
    ours.decide(alpha=0.9).save(folder / 'by_hand.json')  # the same curve
    index_of((0.1, 0.2)).save(folder / 'of_another_backbone.json')
    ncm_of(seed=3).save(folder / 'pruning_index.earlier.json')
    (folder / 'results.json').write_text('[]')
    assert names(folder, ours) == (['also_ncm.json', 'bridged.json'], [])


def test_what_is_stale_or_damaged_is_named(folder, index_of):
    (folder / 'cut.json').write_text('{"format": "mmsls-pruning-index", ')
    found, remarks = names(folder, index_of((0, 0, 0, 0, 0, 0.5)))
    assert found == []
    assert 'also_ncm.json is of an earlier scoring, and left out' in remarks
    assert any(remark.startswith('cut.json is left out: ') for remark in remarks)


def test_the_page_of_another_criterion_has_the_run_s_own(folder, ncm_of):
    text = write_report(folder / 'also_ncm.json').read_text(encoding='utf-8')
    assert 'SLS, alpha 0.3, scope model' in text[text.index('What other criteria say') :]


def test_many_are_cut_short_and_counted(folder, index_of, ncm_of):
    for number in range(9):
        values = (number, 50, 80, 90, 91, 90.5)
        replace(index_of(values, **POINTS)).save(folder / f'{number}.json')
    found, remarks = names(folder, index_of())
    assert len(found) == 8
    assert '2 more indexes of these weights lie here' in remarks[0]


def test_points_of_images_that_tuned_the_model_are_doubted(leave, index_of, ncm_of):
    made = leave(with_maps=False)
    other = OtherCurve('NCM', ncm_of(split='train'))
    leave_others(made / 'pruning_index.json', index_of(), [other])
    assert 'These samples tuned the model' in write_report(made).read_text()


def test_one_that_cannot_be_written_is_said(folder, index_of, ncm_of, said):
    (folder / 'also_probe.json').mkdir()
    leave_others(folder / 'pruning_index.json', index_of(), [OtherCurve('Probe', ncm_of())])
    assert 'the curve of Probe is not written' in said[0]
