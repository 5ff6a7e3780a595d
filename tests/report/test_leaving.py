"""A report that cannot be written costs a line, and no run."""

from __future__ import annotations

import pytest

from mmsls.pruning_index import PruningIndex
from mmsls.report.leaving import closing, leave_report


def test_a_report_is_left_with_its_maps(leave, maps_of):
    folder = leave(with_maps=False)
    path = folder / 'pruning_index.json'
    page = leave_report(path, maps_of(PruningIndex.load(path)))
    assert page == folder / 'report.html'
    assert {file.name for file in folder.iterdir()} == {
        *('pruning_index.json', 'maps.npz', 'report.html', 'curve.csv', 'score_curve.png', 'score_curve.svg')
    }


@pytest.mark.parametrize('name', ['report.html', 'curve.csv', 'maps.npz'])
def test_a_file_that_cannot_be_written_is_said_in_one_line(leave, maps_of, said, name):
    folder = leave(with_maps=False)
    path = folder / 'pruning_index.json'
    before = path.read_text()
    (folder / name).mkdir()
    assert leave_report(path, maps_of(PruningIndex.load(path))) is None
    (line,) = said
    assert f'SLS: {path} is whole, but its report is not written: ' in line
    assert f'{folder / name}' in line
    assert 'Is a directory; give a file' in line
    assert path.read_text() == before


def test_whatever_breaks_is_said(leave, said):
    path = leave() / 'pruning_index.json'
    path.write_text('{')
    assert leave_report(path) is None
    assert 'report is not written: ValueError: pruning index' in said[0]


def test_a_run_ends_with_the_page_first(index_of, tmp_path):
    path = tmp_path / 'pruning_index.json'
    lines = closing(index_of(), path, tmp_path / 'report.html')
    assert lines[0] == f'report: {tmp_path / "report.html"}'
    assert lines[1].startswith('The blocks of the model above the cut add little')
    assert lines[2] == '  try: cut, and retrain what is left'
    assert lines[3].startswith('       mmsls train CONFIG --cfg-options model.backbone.pruning_index=')
    assert lines[-1] == f'how to do that: {tmp_path / "report.html"}#how'
    assert closing(index_of(), path, None) == lines[1:-1]  # commands, where there is no page
