"""What SLS can be compared with, by name."""

from __future__ import annotations

from collections.abc import Sequence

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
}
"""What SLS can be compared with, and the criterion behind each."""


def check_methods(methods: Sequence[str]) -> None:
    """Refuse methods that cannot run, before hours of training.

    Raises:
        ValueError: If one is unknown, or its package is not installed.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise ValueError(f'methods: no method is called {unknown[0]!r}; known: {", ".join(METHODS)}')
    if 'depgraph' in methods:
        torch_pruning()
