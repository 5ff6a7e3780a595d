from __future__ import annotations

import io
import logging
import re
import time
from contextlib import suppress
from pathlib import Path

import pytest
from mmengine.logging import MMLogger
from rich.console import Console

from mmsls.cost.complexity import ParameterCounts
from mmsls.cost.measuring import Row
from mmsls.pruning_index import PruningIndex
from mmsls.report import progress
from mmsls.report.console_log import ConsoleLog
from mmsls.report.progress import ChainProgress
from mmsls.report.score_curve import draw_score_curve
from mmsls.report.table import headline, markdown_table, rich_table

ROWS = [
    Row('full', (2, 2), {}, ParameterCounts(2_000_000, 500_000, 500_000), 3_000_000_000, 0.2),
    Row(
        'retrained',
        (2, 1),
        {'coco/bbox_mAP_50': 0.9, 'coco/bbox_mAP': 0.5},
        ParameterCounts(10**6, 10**5, 10**5),
        10**9,
        0.1,
        3 * 2**20,
    ),
]


def test_markdown_table_holds_every_figure():
    lines = markdown_table(ROWS).splitlines()
    assert 'coco/bbox_mAP' in lines[0]
    assert lines[2] == ('| full | 2-2 | - | 2.000 | 0.500 | 0.500 | 3.000 | 200.0 | 1.00 | - |')
    assert lines[3] == ('| retrained | 2-1 | 0.500 | 1.000 | 0.100 | 0.100 | 1.000 | 100.0 | 0.50 | 3 |')


def test_rich_table_fits_100_columns():
    console = Console(width=100, record=True, file=open('/dev/null', 'w'))  # noqa: SIM115
    console.print(rich_table(ROWS))
    assert '…' not in console.export_text()


def test_headline_prefers_what_the_hosts_report_first():
    assert headline({'aAcc': 1.0, 'mIoU': 0.5}) == 'mIoU'
    assert headline({'pascal_voc/AP50': 0.1, 'pascal_voc/mAP': 0.2}) == 'pascal_voc/mAP'
    assert headline({}) is None


def test_score_curve_is_a_picture(tmp_path):
    scores = {(0, 0): -0.2, (0, 1): 0.1, (1, 0): 0.3, (1, 1): 0.5}
    for scope in ('model', 'stage'):
        index = PruningIndex.create(
            scores=scores, backbone={'type': 'SwinTransformer', 'embed_dims': 8, 'depths': [2, 2]}, scope=scope
        )
        draw_score_curve(index, tmp_path / f'{scope}.png')
        assert (tmp_path / f'{scope}.png').read_bytes().startswith(b'\x89PNG')


def test_loggers_of_a_chain_speak_on_when_it_is_over(tmp_path, capsys):
    with ChainProgress(Console(file=open('/dev/null', 'w')), tmp_path / 'console.log'):
        logger = MMLogger.get_instance('of_a_chain')
        logger.info('inside')
    logger.info('outside')
    assert 'inside' in (tmp_path / 'console.log').read_text()
    said = capsys.readouterr().err
    assert 'outside' in said
    assert 'Logging error' not in said


class Clock:
    """Time that passes when told to."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, 'time', clock)
    return clock


def test_loggers_that_were_there_do_not_write_between_the_bars(tmp_path):
    logger, screen = MMLogger.get_instance('there_before', logger_name='there_before'), io.StringIO()
    (handler,) = (one for one in logger.handlers if type(one) is logging.StreamHandler)
    handler.stream = screen
    with ChainProgress(Console(file=screen, width=80, force_terminal=True), tmp_path / 'console.log') as bars:
        bars.stage('tuned', True)
        logger.info('a word in between')
    assert 'a word in between' not in screen.getvalue()
    assert 'a word in between' in (tmp_path / 'console.log').read_text()
    logger.info('a word afterwards')
    assert 'a word afterwards' in screen.getvalue()


def test_output_to_a_file_shows_a_line_a_minute(tmp_path, clock):
    with (tmp_path / 'out').open('w') as file, ChainProgress(Console(file=file, width=120)) as bars:
        stage = bars.stage('tuned', False)
        for clock.now in range(0, 150):
            stage._advance(int(clock.now) + 1, 150, 'train')
        bars.stage('score', True)
    lines = [line for line in (tmp_path / 'out').read_text().splitlines() if line.startswith('[')]
    assert lines == [
        '[     0 s] tuned',
        '[    60 s] tuned (train) 61/150, about 89 s left',
        '[   120 s] tuned (train) 121/150, about 29 s left',
        '[   149 s] score (done before)',
    ]


def test_the_time_that_is_left_is_that_of_the_work_under_way(tmp_path, clock):
    with (tmp_path / 'out').open('w') as file, ChainProgress(Console(file=file, width=120)) as bars:
        stage = bars.stage('tuned', False)
        for clock.now, done, what in ((0, 100, 'train'), (61, 110, 'train'), (130, 1, 'val'), (200, 2, 'val')):
            stage._advance(done, 400, what)
        clock.now = 300
        stage._advance(400, 400, 'val')
    lines = (tmp_path / 'out').read_text().splitlines()
    assert [line.partition('] ')[2] for line in lines if line.startswith('[')] == [
        'tuned',
        'tuned (train) 110/400, about 29 min left',  # resumed at 100
        'tuned (val) 1/400',
        'tuned (val) 2/400, about 7 h 44 min left',
        'tuned (val) 400/400',
    ]


def test_work_that_counts_nothing_has_a_line_a_minute_too(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, 'SILENCE', 0.1)
    with (tmp_path / 'out').open('w') as file, ChainProgress(Console(file=file, width=120)) as bars:
        bars.stage('score', False)
        time.sleep(0.5)
    assert '] score goes on (0 s so far)' in (tmp_path / 'out').read_text()


def test_a_count_that_begins_again_has_a_pace_of_its_own(tmp_path, clock):
    with (tmp_path / 'out').open('w') as file, ChainProgress(Console(file=file, width=120)) as bars:
        stage = bars.stage('score', False)
        for clock.now, done in ((1, 1), (50, 50), (100, 1), (102, 2)):
            stage._advance(done, 50, 'features')
    assert (tmp_path / 'out').read_text().splitlines()[1].endswith('score (features) 1/50')
    assert stage.pace.left(2, 50, 102) == ', about 2 min left'


def test_slow_steps_are_counted_by_the_reminder(tmp_path, clock):
    with (tmp_path / 'out').open('w') as file, ChainProgress(Console(file=file, width=120)) as bars:
        stage = bars.stage('tuned', False)
        for clock.now, done in ((10, 1), (50, 2)):
            stage._advance(done, 4, 'train')
        clock.now = 70
        stage.remind()
        stage._advance(4, 4, 'train')
        clock.now = 140
        stage.remind()  # what follows the last step is not counted
    lines = [line.partition('] ')[2] for line in (tmp_path / 'out').read_text().splitlines() if line.startswith('[')]
    assert lines == ['tuned', 'tuned (train) 2/4, about 80 s left', 'tuned goes on (2 min so far)']


@pytest.mark.parametrize(('width', 'times'), [(40, 1), (80, 2)])
def test_bars_fit_a_narrow_terminal(width, times):
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    with ChainProgress(console) as bars:
        bars.stage('retrained', False)._advance(150, 400, 'train')
        lines = [text for segments in console.render_lines(bars.bars) for text in [''.join(s.text for s in segments)]]
    assert 'retrained (train)' in lines[0]
    assert '150/400' in lines[0]
    assert '…' not in ''.join(lines)
    assert len(re.findall(r'[\d-]+:[\d-]+', lines[0])) == times


def test_quiet_says_nothing_and_keeps_the_log(tmp_path, clock):
    with (
        (tmp_path / 'out').open('w') as file,
        ChainProgress(Console(file=file, width=120), tmp_path / 'console.log', quiet=True) as bars,
    ):
        stage = bars.stage('tuned', False)
        clock.now = 100
        stage.on_batch(1, 2)
        print('a host speaks')
    assert (tmp_path / 'out').read_text() == ''
    assert 'a host speaks' in (tmp_path / 'console.log').read_text()


def test_only_the_main_process_shows_progress(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, 'is_main_process', lambda: False)
    with (
        (tmp_path / 'out').open('w') as file,
        suppress(KeyError),
        ChainProgress(Console(file=file, width=120), tmp_path / 'console.log') as bars,
    ):
        bars.stage('tuned', False).on_batch(1, 2)
        print('a host speaks')
        raise KeyError
    assert (tmp_path / 'out').read_text() == ''
    assert 'a host speaks' in (tmp_path / 'console.log').read_text()


def test_a_log_that_cannot_be_written_costs_no_run(tmp_path):
    log = ConsoleLog(Path('/dev/full')) if Path('/dev/full').exists() else pytest.skip('needs /dev/full')
    assert log.write('a line\n') == 7
    log.flush()
    log.close()
    assert log.closed


def test_a_row_that_was_not_timed_has_no_time():
    rows = [
        Row('full', (2, 2), {}, ROWS[0].parameters, 10**9, 0.0),
        Row('tuned', (2, 2), {'mIoU': 0.5}, ROWS[0].parameters, 10**9, 0.2),
    ]
    full, tuned = (line.split(' | ') for line in markdown_table(rows).splitlines()[2:])
    assert full[7:9] == ['-', '-']
    assert tuned[7:9] == ['200.0', '1.00']
