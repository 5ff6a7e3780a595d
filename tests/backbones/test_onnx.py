"""A pruned backbone goes through PyTorch's ONNX exporters and computes the same in onnxruntime."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn

pytest.importorskip('onnx', reason='ONNX export needs the package onnx')
pytest.importorskip('onnxscript', reason='ONNX export needs the package onnxscript')
onnxruntime = pytest.importorskip('onnxruntime', reason='the check of an exported model needs the package onnxruntime')


class Outputs(nn.Module):
    """A backbone whose outputs are a plain tuple, as the exporters want them."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, x):
        return tuple(self.backbone(x))


@pytest.fixture
def pruned(request, tmp_path, columns, randomise):
    host = columns[{'detector': 'mmdet-swin', 'segmentor': 'mmseg-vit'}.get(request.param, request.param)]()
    torch.save(host.base_of(randomise(host.stock())), tmp_path / 'base.pth')
    adapter = {'type': 'mmsls.Convpass', 'rank': 4}
    model = host.pruned(base_checkpoint=str(tmp_path / 'base.pth'), adapter=adapter, kept_depths=host.kept)
    return Outputs(randomise(model, seed=1, only_trainable=True).requires_grad_(False)).eval()


@pytest.mark.parametrize('pruned', ['detector', 'segmentor', 'timm-swinv2'], indirect=True)
@pytest.mark.parametrize('dynamo', [True, False], ids=['torch.export', 'torchscript'])
def test_onnxruntime_computes_the_same(pruned, dynamo):
    image = torch.randn(1, 3, 61, 83, generator=torch.Generator().manual_seed(0))
    file = io.BytesIO()
    torch.onnx.export(pruned, (image,), file, dynamo=dynamo, **({} if dynamo else {'opset_version': 17}))
    session = onnxruntime.InferenceSession(file.getvalue(), providers=['CPUExecutionProvider'])
    found = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    # The tracer must leave none of its stand-ins behind in our caches.
    expected = pruned(image)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(ours), theirs, atol=1e-4, rtol=1e-4)
