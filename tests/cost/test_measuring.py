from __future__ import annotations

import pytest
import torch

from mmsls.cost.measuring import Row, first_images, measure, measure_training


def test_the_memory_of_a_step_that_fails_costs_no_table():
    class Refusing(torch.nn.Linear):
        def forward(self, x):
            raise RuntimeError('not two images')

    row = Row('tuned', (2, 2, 3, 2))
    measure_training([row], [Refusing(1, 1)], {})
    assert row.memory == 0


@pytest.mark.parametrize('count', [1, 2])
def test_first_images_do_with_any_loader(detector_cfg, tmp_path, count):
    cfg = detector_cfg(tmp_path)
    cfg.test_dataloader.update(num_workers=2, prefetch_factor=4, drop_last=True)
    assert len(first_images(cfg, 'test', count)['data_samples']) == count


def test_only_the_named_rows_are_timed(detector_cfg, tmp_path, build_runner):
    cfg = detector_cfg(tmp_path)
    models = [build_runner(cfg).model.eval()] * 2
    rows = [Row('full', (2, 2, 3, 2)), Row('tuned', (2, 2, 3, 2))]
    measure(rows, models, first_images(cfg, 'test'), timed=['tuned'])
    assert rows[0].latency == 0 < rows[1].latency
    assert rows[0].macs == rows[1].macs > 0
