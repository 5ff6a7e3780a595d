from __future__ import annotations

import pytest
import torch


def image():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_a_skipped_block_does_nothing(build):
    full, part = build(), build('mmsls.ComparisonClassifier', kept_blocks=[[0, 0], [0, 2]])
    part.load_state_dict(
        {key: value for key, value in full.state_dict().items() if '.1.' not in key or 'ffn' in key}, strict=False
    )
    part.load_state_dict(full.state_dict(), strict=False)
    assert sum(p.numel() for p in part.parameters()) < sum(p.numel() for p in full.parameters())
    backbone = full.backbone
    with torch.no_grad():
        x = backbone.patch_embed(image())[0]
        x = torch.cat([backbone.cls_token.expand(2, -1, -1), x], dim=1) + backbone.pos_embed
        for number in (0, 2):
            x = backbone.layers[number](x)
        assert torch.equal(part.backbone(image())[0], backbone.ln1(x)[:, 0])


def test_skipping_from_the_top_is_what_sls_does(build):
    part = build('mmsls.ComparisonClassifier', kept_blocks=[[0, 0], [0, 1]])
    cut = build()
    del cut.backbone.layers[2:]
    cut.backbone._map_outputs([3])
    cut.load_state_dict(part.state_dict(), strict=False)
    with torch.no_grad():
        assert torch.equal(part(image()), cut(image()))


@pytest.mark.parametrize(('blocks', 'said'), [([[0, 4]], r'\(0, 4\)'), ([[1, 0]], r'\(1, 0\)'), ([], 'none')])
def test_blocks_that_are_not_there_are_refused(build, blocks, said):
    with pytest.raises(ValueError, match=f'kept_blocks: {said}'):
        build('mmsls.ComparisonClassifier', kept_blocks=blocks)
