from __future__ import annotations

import pytest

from mmsls.criteria.narrowing import inner_layers, shrink


def test_what_is_left_of_the_base_is_stored_but_not_trained(build):
    model = build('mmsls.ComparisonClassifier', inner_widths=[[8, 32]] * 4)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all('.adapters.' in name or name.startswith('head.') for name in trained)
    assert model.backbone.base_sha256 is None


def test_another_backbone_is_refused(build):
    from mmpretrain.models.backbones import SwinTransformer

    stock = SwinTransformer({'embed_dims': 8, 'depths': (1, 1), 'num_heads': (1, 1)}, out_indices=(1,))
    unfused = build(family='swin', backbone={'fused_attention': False}).backbone
    for backbone in (stock, unfused):
        with pytest.raises(
            ValueError, match=r"'depgraph' is built for .*fused_attention=True.*, not for this \w*SwinTransformer"
        ):
            inner_layers(backbone)


def test_widths_for_other_blocks_are_refused(build):
    with pytest.raises(ValueError, match='inner_widths: 1 pairs for 4 blocks'):
        shrink(build().backbone, [(8, 8)])
