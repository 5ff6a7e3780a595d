from __future__ import annotations

import pytest
import torch
from torch import nn

from mmsls.adapters import Adapter, Convpass, adapter_class, normalise_adapter_cfg
from mmsls.backbones.blocks import AdaptedBlock
from mmsls.registry import ADAPTERS


@pytest.mark.parametrize('name', ['Convpas', 'mmdet.Convpass', '', None, 3, nn.Linear])
def test_unknown_adapter_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r'adapter\.type.*Convpass.*RepAdapter'):
        adapter_class({'type': name})


@pytest.mark.parametrize('written', [Convpass, 'Convpass', 'mmsls.Convpass', 'mmsls.adapters.convpass.Convpass'])
def test_type_means_the_same_however_it_is_written(written):
    assert adapter_class({'type': written}) is Convpass
    assert normalise_adapter_cfg({'type': written, 'rank': 4}) == normalise_adapter_cfg({'type': 'Convpass', 'rank': 4})
    assert normalise_adapter_cfg(None) is None


def test_ones_own_adapter_is_found_by_its_dotted_path_and_no_module_is_imported(tmp_path, monkeypatch):
    @ADAPTERS.register_module()
    class OnesOwn(Convpass):
        pass

    try:
        for written in (OnesOwn, 'OnesOwn', f'{OnesOwn.__module__}.{OnesOwn.__qualname__}'):
            assert adapter_class({'type': written}) is OnesOwn
    finally:
        del ADAPTERS.module_dict['OnesOwn']
    (tmp_path / 'stranger.py').write_text('raise SystemExit("imported")')
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match='unknown adapter'):
        adapter_class({'type': 'stranger.Convpass'})


@pytest.mark.parametrize('scale', [float('nan'), float('inf'), None, '1', True])
def test_a_scale_that_is_no_number_is_refused(scale):
    with pytest.raises(ValueError, match=r'adapter\.scale must be a finite number'):
        Convpass(8, scale=scale)


def test_a_name_alone_is_no_config():
    with pytest.raises(ValueError, match=r"adapter must be a config like .* got 'mmsls\.Convpass'"):
        normalise_adapter_cfg('mmsls.Convpass')


@pytest.mark.parametrize('argument', ['dim', 'embed_dims', 'ranks'])
def test_unknown_argument_is_refused_with_the_known_ones(argument):
    with pytest.raises(ValueError, match=rf'{argument}.*rank, scale, dropout') as caught:
        normalise_adapter_cfg({'type': 'Convpass', argument: 4})
    assert 'Convpass' in str(caught.value)


class Double(Adapter):
    """An adapter that doubles, at every place of both branches in turn."""

    def forward(self, x, hw_shape):
        return 2 * x


class ToyBlock(AdaptedBlock):
    """`x + 3 norm(x)`, `x + 5 norm(x)`, norm = x + 1."""

    def norm(self, branch):
        return lambda x: x + 1

    def run(self, branch, h, hw_shape, identity):
        return identity + (3 if branch == 'attn' else 5) * h


class Host(nn.Module):
    with_cp = False


def toy(*slots):
    block = ToyBlock(Host(), {slot: Double(embed_dims=1) for slot in slots})
    return block(torch.tensor([[[1.0]]]), (1, 1)).item()


def test_places_of_the_contract():
    # Without adapters: 1 -> 1 + 3 * 2 = 7 -> 7 + 5 * 8 = 47.
    assert toy() == 47
    assert toy('attn_input') == 13 + 5 * 14
    assert toy('attn_parallel') == (1 + 6 + 4) + 5 * 12
    assert toy('attn_output') == 13 + 5 * 14
    assert toy('attn_stream') == 14 + 5 * 15
    assert toy('ffn_input') == 7 + 5 * 16
    assert toy('ffn_parallel') == 47 + 16
    assert toy('ffn_output') == 7 + 2 * 40
    assert toy('ffn_stream') == 2 * 47
    assert toy('attn_stream', 'ffn_parallel') == 14 + 5 * 15 + 2 * 15


BESIDE = sorted(name for name, cls in ADAPTERS.module_dict.items() if any('parallel' in slot for slot in cls.slots))


@pytest.mark.parametrize('name', BESIDE)
def test_adding_to_the_stream_is_the_sum(name, randomise):
    adapter = randomise(ADAPTERS.get(name)(6, scale=0.7)).eval()
    stream, x = torch.randn(2, 2, 13, 6)
    torch.testing.assert_close(adapter.add_to(stream, x, (3, 4)), stream + adapter(x, (3, 4)))


class Doubled(Convpass):
    """One's own adapter, made of one that adds to the stream in one pass."""

    def forward(self, x, hw_shape):
        return 2 * super().forward(x, hw_shape)


@pytest.mark.parametrize('way', ['subclass', 'hook', 'wrapped', 'hooked layer'])
def test_who_changes_forward_is_heard(way, randomise):
    adapter = randomise((Doubled if way == 'subclass' else Convpass)(6)).eval()
    stream, x = torch.randn(2, 2, 13, 6)
    once = 2 * Convpass.forward(adapter, x, (3, 4))
    if way == 'hook':
        adapter.register_forward_hook(lambda module, inputs, output: 2 * output)
    if way == 'hooked layer':
        adapter.up.register_forward_hook(lambda module, inputs, output: 2 * output)
    if way == 'wrapped':
        forward = adapter.forward
        adapter.forward = lambda x, hw_shape: 2 * forward(x, hw_shape)
    torch.testing.assert_close(adapter.add_to(stream, x, (3, 4)), stream + once)
