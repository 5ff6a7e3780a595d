"""ViT in MMPretrain: bases of timm, bases that don't fit, and what a classification head reads after pruning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer as OfTimm

from mmsls.features import FeatureRecorder, ImageSampler, Record
from mmsls.integrations.mmpretrain import PrunedVisionTransformer

ARCH = {'embed_dims': 16, 'num_layers': 4, 'num_heads': 2, 'feedforward_channels': 32}
TINY = {'arch': ARCH, 'img_size': 32, 'patch_size': 8}
CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4}


@pytest.fixture(scope='module')
def timm_model(randomise):
    model = OfTimm(img_size=32, patch_size=8, embed_dim=16, depth=4, num_heads=2, mlp_ratio=2, num_classes=5)
    return randomise(model).eval()


@pytest.fixture(scope='module')
def npz(timm_model, google_arrays, tmp_path_factory):
    """The same weights in the container of ViT-B/16's published ones."""
    path = tmp_path_factory.mktemp('google') / 'vit.npz'
    np.savez(path, **google_arrays(timm_model))
    return str(path)


@pytest.fixture(scope='module')
def base(timm_model, tmp_path_factory):
    path = tmp_path_factory.mktemp('timm') / 'vit.pth'
    torch.save(timm_model.state_dict(), path)
    return str(path)


def image():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('container', ['base', 'npz'])
def test_a_timm_base_gives_timms_class_token(container, timm_model, request):
    path = request.getfixturevalue(container)
    with torch.no_grad():
        expected = timm_model.forward_features(image())[:, 0]
        (out,) = PrunedVisionTransformer(**TINY, base_checkpoint=path, adapter=CONVPASS).eval()(image())
    assert (out - expected).abs().max() < 1e-5


def test_the_final_norm_is_frozen_as_the_author_has_it(base):
    model = PrunedVisionTransformer(**TINY, base_checkpoint=base, adapter=CONVPASS)
    assert all('.adapters.' in name for name, parameter in model.named_parameters() if parameter.requires_grad)


def test_after_pruning_the_head_reads_the_normed_class_token_of_the_last_kept_block(base):
    model = PrunedVisionTransformer(**TINY, base_checkpoint=base, kept_depths=(2,)).eval()
    with torch.no_grad(), FeatureRecorder(model) as recorder:
        (out,) = model(image())
        recorded = recorder.take()[0]
        assert list(recorded) == [(0, 0), (0, 1)]
        token = recorded[0, 1].extra_tokens[:, 0]
        assert torch.equal(out, model.ln1(token))
        assert not torch.allclose(out, token)


def test_the_sampler_takes_the_token_before_the_final_norm(base):
    from mmpretrain.structures import DataSample

    model = PrunedVisionTransformer(**TINY, base_checkpoint=base).eval()
    items = [DataSample(metainfo={'img_path': f'{number}.png'}).set_gt_label(number) for number in range(2)]
    with torch.no_grad(), FeatureRecorder(model, after_merging=True) as recorder:
        (out,) = model(image())
        samples = ImageSampler()(recorder.take(), items, [Record(0, number) for number in range(len(items))])
        top = torch.from_numpy(samples[1].features[0, 3])
        assert torch.allclose(model.ln1(top), out[1], atol=1e-6)


@pytest.mark.parametrize(
    ('wrong', 'named'),
    [({'patch_size': 4}, r'patch_embed\.projection\.weight'), ({'arch': {**ARCH, 'embed_dims': 32}}, 'cls_token')],
)
def test_a_base_of_another_patch_size_or_width_is_refused(base, wrong, named):
    with pytest.raises(ValueError, match=rf'base_checkpoint: .*does not fit.*{named}'):
        PrunedVisionTransformer(**{**TINY, **wrong}, base_checkpoint=base)
