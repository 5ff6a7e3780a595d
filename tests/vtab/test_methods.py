from __future__ import annotations

import pytest

from mmsls.integrations.mmpretrain import PrunedSwinTransformer
from mmsls.vtab.methods import check_methods

pytest.importorskip('torch_pruning', reason='DepGraph needs the package torch-pruning')
NAMES = [
    PrunedSwinTransformer,
    'PrunedSwinTransformer',
    'mmpretrain.PrunedSwinTransformer',
    'mmsls.integrations.mmpretrain.PrunedSwinTransformer',
]


@pytest.mark.parametrize('written', NAMES)
def test_depgraph_refuses_unfused_swin_however_its_type_is_written(written):
    check_methods(['depgraph'], {'type': written})
    with pytest.raises(ValueError, match=r'depgraph.*fused_attention=False'):
        check_methods(['depgraph'], {'type': written, 'fused_attention': False})
