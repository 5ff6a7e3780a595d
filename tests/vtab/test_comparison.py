"""A classifier that is pruned when it is built."""

from __future__ import annotations

import pytest
from mmpretrain.models.classifiers import ImageClassifier

from mmsls import runs
from mmsls.vtab.comparison import CLASSIFIER


@pytest.fixture
def build(vit_cfg):
    def run(**arguments):
        cfg = vit_cfg()
        cfg.model.update(type=CLASSIFIER, **arguments)
        return runs.build_model(cfg)

    return run


def test_it_is_the_hosts_classifier_and_its_blocks_are_narrowed(build):
    model = build(inner_widths=[[8, 32]] * 4)
    assert type(model) is ImageClassifier
    assert {block.attn.qkv.out_features for block in model.backbone.layers} == {3 * 2 * 8}


def test_what_does_not_fit_is_refused(build):
    with pytest.raises(ValueError, match='inner_widths: 1 pairs for 4 blocks'):
        build(inner_widths=[[8, 32]])
