"""What SLS can be compared with, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmsls.adapters import adapter_class
from mmsls.adapters.layer_adapter import LayerAdapter
from mmsls.criteria.depgraph import torch_pruning

METHODS = {
    'magnitude': 'Magnitude',
    'taylor': 'Taylor',
    'block_influence': 'BlockInfluence',
    'cka': 'CKAInfluence',
    'linear_probe': 'LinearProbe',
    'silhouette': 'PlainSilhouette',
    'random': 'Random',
    'depgraph': None,
    'full_depth': None,
}
"""What SLS can be compared with, and the criterion behind each; the last two keep every block.

`full_depth` is the control: nothing is pruned, and the tuned model is trained on for as long as the others are
retrained.
"""


def check_methods(methods: Sequence[str], backbone: Mapping[str, Any]) -> None:
    """Refuse methods that cannot run, before hours of training.

    Args:
        methods: Names out of `METHODS`.
        backbone: Config of the backbone that they shall prune.

    Raises:
        ValueError: If one is unknown, its package is not installed, or it does not know the backbone or its adapter.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise ValueError(f'methods: no method is called {unknown[0]!r}; known: {", ".join(METHODS)}')
    if 'depgraph' in methods:
        torch_pruning()
        adapter = backbone.get('adapter')
        # A class, a name, or either with a host's scope or a dotted path.
        kind = getattr(backbone['type'], '__name__', str(backbone['type']).rpartition('.')[2])
        if kind == 'PrunedSwinTransformer' and not backbone.get('fused_attention', True):
            raise ValueError(
                "methods: 'depgraph' cannot narrow the heads of Swin with fused_attention=False; leave either out"
            )
        if adapter is not None and issubclass(adapter_class(adapter), LayerAdapter):
            raise ValueError(
                f"methods: 'depgraph' cannot narrow layers that carry {adapter['type']}; leave it out, or take an "
                'adapter beside the layers'
            )
