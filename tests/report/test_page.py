"""The page of one run: whole, closed to the network, and sound whatever lies in the folder."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace

import pytest

from mmsls.pruning_index.choice import Choice
from mmsls.report.origin import Origin
from mmsls.report.page import write_report
from mmsls.scoring.decision import Decision

NAMES = ('<script>alert(1)</script>', 'a "quoted" & \'odd\' one', '红细胞')
ROWS = [
    {'name': 'tuned', 'depths': [6], 'metrics': {'mIoU': 51.2}, 'macs': 10**9, 'latency': 0.02},
    {'name': 'cut & <mended>', 'depths': [4], 'metrics': {'mIoU': 53.0}, 'macs': 7 * 10**8, 'latency': 0.015},
]
SECTIONS = ('What every block is worth', 'Maps of the blocks', 'What was sampled')


def text_of(folder, **how):
    return write_report(folder, **how).read_text(encoding='utf-8')


def test_a_page_has_everything_and_needs_nothing(leave):
    folder = leave(rows=ROWS, costs=True)
    text = text_of(folder)
    for title in (*SECTIONS, 'What every depth costs', 'What is given for what it costs'):
        assert title in text
    assert '4 of 6 blocks stay' in text
    assert 'retrained' not in text
    assert text.count('<img src="data:image/png;base64,') == 6 + 2
    outside = set(re.findall(r'(?:src|href)="([^"#][^"]*)"', text)) | set(re.findall(r'https?://[^"\s<]+', text))
    assert {link for link in outside if not link.startswith('data:')} <= {
        'http://www.w3.org/2000/svg',
        'http://www.w3.org/1999/xlink',
    }
    assert "default-src 'none'" in text


def test_every_advice_leads_to_its_how_to_on_the_page(leave, index_of):
    index = index_of((0.5,) * 5 + (0.6,), about={'samples': 40})
    folder = leave(index=index)
    Origin('/x/tune.py', (), '/x/a & b.pth').save(folder / 'pruning_index.json', index)
    text = text_of(folder)
    links, ids = set(re.findall(r'href="#([^"]+)"', text)), re.findall(r'id="([^"]+)"', text)
    assert {'how-points', 'how-peak', 'how-more', 'how', 'curve'} <= links
    assert links <= set(ids)
    assert text.count('class="how"') == 4
    assert f'mmsls decide {folder}/pruning_index.json --reference peak --alpha 1' in text
    assert '/x/tune.py &#39;/x/a &amp; b.pth&#39; --criterion bridged' in text


def test_ids_of_a_page_are_its_own(leave):
    ids = re.findall(r' id="([^"]+)"', text_of(leave(rows=ROWS, costs=True)))
    figures = {re.split('-', name)[0] for name in ids if '-' in name}
    assert {'awide', 'anarrow', 'at0wide', 'at0narrow'} <= figures
    assert len([name for name in ids if '-' not in name]) == len({name for name in ids if '-' not in name})


def test_what_comes_from_data_is_escaped(leave, index_of, maps_of):
    about = {'dataset': '<img src=x onerror=alert(1)>', 'warning': '</p><script>x()</script>', 'checkpoint': '$a_{b'}
    index = index_of(criterion='<b>Mine</b>', unit='<i>$x', about=about)
    text = text_of(leave('a & <b>', index, maps_of(index, names=NAMES), rows=ROWS))
    for raw in ('<script>alert', '<img src=x', '<script>x()', '<b>Mine', '<i>$x', 'a & <b>', '<mended>'):
        assert raw not in text
    for escaped in ('&lt;script&gt;alert(1)', '红细胞', 'a &amp; &lt;b&gt;', 'cut &amp; &lt;mended&gt;'):
        assert escaped in text


def test_curve_and_picture_lie_beside(leave, index_of):
    folder = leave(index=index_of(about={'drop_errors': [[0.1, 0.2, 0.3, 0.4, 0.0, 0.1]]}))
    assert 'standard error' in text_of(folder)
    lines = list(csv.DictReader((folder / 'curve.csv').open()))
    assert [line['kept'] for line in lines] == ['1', '1', '1', '1', '0', '0']
    assert (lines[3]['value'], lines[3]['standard_error'], lines[3]['threshold']) == ('0.4', '0.4', '0.15')
    assert (folder / 'score_curve.png').read_bytes().startswith(b'\x89PNG')


def test_an_index_of_another_name_has_a_page_of_its_own(leave, tmp_path, index_of):
    index_of().save(tmp_path / 'train.json')
    assert write_report(tmp_path / 'train.json') == tmp_path / 'train.report.html'
    assert write_report(leave(), tmp_path / 'x.html') == tmp_path / 'x.html'
    assert not (tmp_path / 'run/curve.csv').exists()


def test_an_old_index_alone_is_enough(tmp_path):
    old = {
        'format': 'mmsls-pruning-index',
        'version': 1,
        'backbone': {'type': 'PrunedVisionTransformer', 'embed_dims': 192, 'depths': [3]},
        'adapter': None,
        'base_sha256': None,
        'scores': [[0.1, 0.3, 0.4]],
        **{'alpha': 0.3, 'scope': 'model', 'min_depth': 0, 'reference': 'top'},
        **{'thresholds': [0.12], 'kept_depths': [2], 'borderline': [[0, 0]], 'note': None, 'provenance': {}},
    }
    (tmp_path / 'pruning_index.json').write_text(json.dumps(old))
    text = text_of(tmp_path)
    for title in SECTIONS:
        assert title in text
    assert 'The index does not say.' in text
    assert 'The maps are not there' in text


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('maps.npz', b'PK\x03\x04 cut short'),
        ('maps.npz', b''),
        ('depth_costs.json', b'{}'),
        ('results.json', b'[{"name": 1, "speed": 3}]'),
        ('results.json', b'{"a": 1}'),
        ('results.json', b'[{"name": "x", "depths": [1], "metrics": {"a": "b"}}]'),
    ],
)
def test_damaged_files_are_left_out_and_named(leave, name, content):
    folder = leave(with_maps=False)
    (folder / name).write_bytes(content)
    text = text_of(folder)
    assert name.split('.')[0] in text[text.index('role="note"') :]
    for title in SECTIONS:
        assert title in text


def test_files_of_another_run_are_left_out(leave, index_of, maps_of):
    folder = leave(costs=True)
    other = index_of((0.1, 0.2, 0.4, 0.4, 0.5, 0.6))
    other.save(folder / 'pruning_index.json')
    assert 'its samples are not those of this curve' in text_of(folder)
    other.decide(alpha=0.9).save(folder / 'pruning_index.json')
    maps_of(other).save(folder / 'maps.npz', other)
    assert '<img src=' in text_of(folder)  # another rule for the same curve
    index_of((0.1, 0.2)).save(folder / 'pruning_index.json')
    assert 'backbone.depths' in text_of(folder)


def test_every_kind_of_curve_has_a_page(leave, index_of):
    made = {
        'taylor': index_of((5.0, 1.0, 3.0, 2.0), criterion='Taylor', unit='loss', keep=0.5),
        'stages': index_of((0.5,) * 4 + (-0.1,) * 3, depths=(1, 3, 3), scope='stage'),
        'single': index_of((0.4,)),
        'points': index_of((50.0, 51.0), unit='points', criterion='Bridged', about={'metric': 'mIoU'}, max_drop=1),
        'one_class': index_of(about={'classes': 1}),
        'by_hand': replace(
            index_of(), decision=Decision((5,), (), (), None), chosen=Choice('hand', None, None, 'a person')
        ),
    }
    for name, index in made.items():
        text = text_of(leave(name, index, with_maps=False, costs=True))
        assert 'looks at no map' in text or 'The maps are not there' in text
        assert 'class="decided"' in text


def test_a_thousand_classes_fit(leave, index_of, maps_of):
    index = index_of((0.1, 0.5))
    text = text_of(leave(index=index, maps=maps_of(index, 2000, [f'class {n}' for n in range(1000)])))
    assert 'and 916 classes with fewer samples, in grey' in text
    assert len(text) < 10**6


def test_the_largest_usual_page_is_under_3_mb(leave, index_of, maps_of):
    index = index_of(tuple(0.02 * n for n in range(24)))
    folder = leave(index=index, maps=maps_of(index, 2000, [f'class {n}' for n in range(80)]), costs=True)
    for number in range(8):  # other criteria, as many as a page has
        index_of(tuple(0.01 * n + number for n in range(24)), unit='H-score').save(folder / f'{number}.json')
    page = write_report(folder)
    assert page.read_text().count('<h3>SLS, H-score') == 8
    assert page.stat().st_size < 3 * 10**6


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'holds no pruning_index\.json'):
        write_report(tmp_path)
    with pytest.raises(FileNotFoundError, match='does not exist'):
        write_report(tmp_path / 'no.json')
