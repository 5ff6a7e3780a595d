from __future__ import annotations

from mmengine.logging import MMLogger
from rich.console import Console

from mmsls.complexity import ParameterCounts
from mmsls.measuring import Row
from mmsls.pruning_index import PruningIndex
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
