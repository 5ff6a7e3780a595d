"""The table of bars: which side is the right one, what it times, and which operator counts as what."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import bench

    return bench


@pytest.mark.parametrize(
    ('ratio', 'at_least', 'met'),
    [(1.204, False, True), (1.206, False, False), (1.196, True, True), (1.19, True, False)],
)
def test_a_bar_is_met_on_the_right_side_of_it(bench, ratio, at_least, met):
    bar = bench.Bar('forward', 'this / that', ratio, 1.2, at_least)
    assert bar.met is met
    assert bar.cells() == (
        'forward',
        'this / that',
        f'{ratio:.2f}',
        '>= 1.20' if at_least else '<= 1.20',
        'yes' if met else 'NO',
    )


def test_ratios_are_of_calls_that_take_turns(bench, monkeypatch):
    order = []

    def busy(name, seconds):
        order.append(name)
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    turns = bench.Turns({'short': lambda: busy('short', 0.01), 'long': lambda: busy('long', 0.03)}, repeats=3)
    assert order == ['short', 'long'] * 4  # the first round warms up
    assert turns.ratio('long', 'short') == pytest.approx(3, rel=0.2)


def test_unknown_parts_are_refused(bench, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['bench.py', '--parts', 'forwards'])
    with pytest.raises(SystemExit):
        bench.main()
    assert '--parts forwards: the parts are forward pruned adapters tuning scoring' in capsys.readouterr().err


@pytest.mark.usefixtures('bench')
@pytest.mark.parametrize(
    ('operator', 'kind'),
    [
        ('aten::addmm', 'matrix products'),
        ('aten::_scaled_dot_product_flash_attention_for_cpu', 'attention'),
        ('aten::native_layer_norm', 'norms'),
        ('aten::index_select', 'copies and gathers'),
        ('aten::add', 'sums'),
        ('aten::view', 'other'),
    ],
)
def test_operators_have_a_kind(operator, kind):
    from where_time_goes import kind_of

    assert kind_of(operator) == kind


def test_a_small_model_is_measured_without_a_gpu(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import on_gpu

    monkeypatch.setitem(
        on_gpu.SWINS, 'swin_t', {'embed_dims': 12, 'depths': (2, 2), 'num_heads': (2, 4), 'out_indices': (1,)}
    )
    monkeypatch.setattr(on_gpu, 'TIMM_SWINS', {'swin_t': 'tiny'})
    shared = on_gpu.variants('swin_t', (64, 96), tmp_path)
    bench = on_gpu.Bench('cpu', minutes=5)
    monkeypatch.setattr(on_gpu, 'variants', lambda *_: {k: v for k, v in shared.items() if k != 'timm'})
    monkeypatch.setattr(bench, 'speed', lambda call, images: (call() or 1.0, None))
    bench.inference('swin_t', [(64, 96)], [2], compiled=False)
    assert {one.variant for one in bench.found} == {
        'stock',
        'ours',
        'ours, half of the blocks',
        'ours, Convpass',
        'ours, LoRA merged',
    }
    assert {one.dtype for one in bench.found} == {'fp32', 'bf16'}
    bench.end = 0
    bench.inference('swin_t', [(64, 96)], [2], compiled=False)
    assert bench.found[-1].note == 'not measured: time is over'
