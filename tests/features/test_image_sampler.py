"""One sample per image: class token or average, label and key."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from mmsls.backbones.tokens import BlockTokens
from mmsls.features import FeatureRecorder, ImageSampler, Record
from mmsls.features.records import RepeatedRecord
from mmsls.features.scorer import BlockScorer
from mmsls.features.tasks import build_sampler, sampler_for_scope
from mmsls.integrations.mmpretrain import PrunedSwinTransformer
from mmsls.scoring.rule import Rule

ARCH = {'embed_dims': 8, 'depths': (2, 2, 3, 2), 'num_heads': (1, 2, 2, 4)}


def item(number, label=0, **more):
    sample = DataSample(metainfo={'img_path': f'images/{number}.png', **more})
    return sample if label is None else sample.set_gt_label(label)


RECORDS = [Record(0, 1), Record(0, 2)]


def one_pass(extra=True, batch=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(batch, 6, 4, generator=generator).to(dtype)
    more = torch.randn(batch, 2, 4, generator=generator).to(dtype) if extra else None
    return [{(0, 0): BlockTokens(tokens, (2, 3), 16, more)}]


def test_the_class_token_is_the_feature_of_a_vit():
    passes = one_pass()
    samples = ImageSampler()(passes, [item(1, 3), item(2, 5)], RECORDS)
    assert [(s.key, s.label) for s in samples] == [((0, 1, 0), 3), ((0, 2, 0), 5)]
    for row, sample in enumerate(samples):
        np.testing.assert_array_equal(sample.features[0, 0], passes[0][0, 0].extra_tokens[row, 0].numpy())


@pytest.mark.parametrize(('pool', 'extra'), [('auto', False), ('mean', True), ('mean', False)])
def test_the_mean_without_a_class_token_or_on_demand(pool, extra):
    passes = one_pass(extra)
    samples = ImageSampler(pool)(passes, [item(1), item(2)], RECORDS)
    np.testing.assert_array_equal(samples[1].features[0, 0], passes[0][0, 0].tokens[1].mean(0).numpy())


def test_half_precision_tokens_are_averaged_in_float32():
    passes = one_pass(extra=False, dtype=torch.bfloat16)
    feature = ImageSampler()(passes, [item(1), item(2)], RECORDS)[0].features[0, 0]
    assert feature.dtype == np.float32
    np.testing.assert_array_equal(feature, passes[0][0, 0].tokens[0].float().mean(0).numpy())


def test_a_demanded_class_token_that_is_absent_is_refused():
    with pytest.raises(ValueError, match=r"pool='class_token'.*\(0, 0\).*pool='mean'"):
        ImageSampler('class_token')(one_pass(extra=False), [item(1), item(2)], RECORDS)


def test_images_are_counted():
    sampler = ImageSampler()
    sampler(one_pass(), [item(1), item(2)], [Record(0, 1), RepeatedRecord(0, 1)])
    assert (sampler.counts.kept, dict(sampler.counts.skipped)) == (1, {'repeated image': 1})
    assert (
        str(sampler.counts.capped(0))
        == 'kept 0 of 2 images in 2 images; skipped: 1 above max_samples, 1 repeated image'
    )


def test_an_unknown_pool_is_refused():
    with pytest.raises(ValueError, match='pool'):
        ImageSampler('max')


@pytest.mark.parametrize(('label', 'said'), [(None, 'no gt_label'), ([1, 2], '2 labels')])
def test_an_image_without_exactly_one_class_is_refused(label, said):
    with pytest.raises(ValueError, match=rf'images/2\.png.*{said}'):
        ImageSampler()(one_pass(), [item(1), item(2, label)], RECORDS)


def test_classification_has_this_sampler():
    assert isinstance(build_sampler(sampler_for_scope('mmpretrain')), ImageSampler)


def test_swin_features_are_taken_after_the_patch_merging():
    model = PrunedSwinTransformer(ARCH, window_size=4, pad_small_map=True).eval()
    with torch.no_grad(), FeatureRecorder(model, after_merging=True) as recorder:
        x = torch.randn(2, 3, 64, 96)
        model(x)
        samples = ImageSampler()(recorder.take(), [item(1), item(2)], RECORDS)
        tokens, grid = model.patch_embed(x)
        for stage, layer in enumerate(model.stages):
            for block, module in enumerate(layer.blocks):
                tokens = module(tokens, grid)
                merged = layer.downsample(tokens, grid)[0] if layer.downsample else tokens
                np.testing.assert_allclose(
                    samples[1].features[stage, block], merged[1].mean(0).numpy(), rtol=1e-5, atol=1e-6
                )
            if layer.downsample:
                tokens, grid = layer.downsample(tokens, grid)
    assert [samples[0].features[stage, 0].shape[0] for stage in range(4)] == [16, 32, 64, 64]


def test_the_scorer_records_what_this_sampler_asks_for():
    model = PrunedSwinTransformer(ARCH, window_size=4)
    assert BlockScorer(model, 'ImageSampler', rule=Rule()).recorder.after_merging
    assert not BlockScorer(model, 'InstanceSampler', rule=Rule()).recorder.after_merging
