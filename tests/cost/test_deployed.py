from __future__ import annotations

import pytest
import torch
from torch import nn

from mmsls.cost.deployed import as_deployed
from mmsls.cost.measuring import Row, measure
from mmsls.report.table import row_cells


@pytest.fixture
def build(tmp_path, mmdet_host, randomise):
    """A function that builds a model around a backbone with adapters away from their start."""

    def run(method: str | None) -> nn.Module:
        torch.save(mmdet_host.base_of(randomise(mmdet_host.stock())), tmp_path / 'base.pth')
        adapter = None if method is None else {'type': method, 'rank': 2} if method != 'SSF' else {'type': 'SSF'}
        backbone = mmdet_host.pruned(base_checkpoint=str(tmp_path / 'base.pth'), adapter=adapter)
        return nn.Sequential(randomise(backbone, seed=1, only_trainable=True).eval())

    return run


@pytest.mark.parametrize('method', ['RepAdapter', 'LoRA', 'SSF'])
def test_what_merges_is_merged_in_a_copy(build, method):
    model, image = build(method), torch.rand(1, 3, 64, 64)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    deployed = as_deployed(model)
    assert deployed is not model
    assert len(list(deployed.parameters())) < len(list(model.parameters()))
    with torch.no_grad():
        for ours, theirs in zip(deployed(image), model(image), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    theirs = {tensor.data_ptr() for tensor in model.parameters()}
    assert sum(tensor.data_ptr() in theirs for tensor in deployed.parameters()) > 20  # what no adapter touches


@pytest.mark.parametrize('method', ['Convpass', None])
def test_what_does_not_merge_is_the_model_itself(build, method):
    model = build(method)
    assert as_deployed(model) is model


def test_what_cannot_be_merged_exactly_is_told_and_left(build, caplog):
    model = build('LoRA')
    with torch.no_grad():
        next(value for name, value in model.named_parameters() if name.endswith('.up')).fill_(float('inf'))
    with caplog.at_level('WARNING'):
        assert as_deployed(model) is model


class Runs(nn.Sequential):
    def test_step(self, batch):
        return self[0](batch)


def test_the_table_says_what_ran(build):
    rows = [Row('tuned', (2, 2, 3, 2)), Row('other', (2, 2, 3, 2))]
    measure(rows, [Runs(build('LoRA')[0]), Runs(build('Convpass')[0])], torch.rand(1, 3, 64, 64))
    assert [row.merged for row in rows] == [True, False]
    said = [row_cells(row, None, rows[0].latency)[-3] for row in rows]
    assert said[0].endswith(' (merged)')
    assert 'merged' not in said[1]
    assert rows[0].parameters.trained > 0
