"""Which names a config may build from, and modules it may import: what the hosts' registries hold.

They are looked up without importing anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from mmengine.registry import Registry

HOSTS = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain')
SCOPES = ('mmengine', 'mmdet', 'mmseg', 'mmpretrain', 'mmsls')
OURS = 'mmsls.integrations.'
MODEL_KINDS = ('model', 'task util', 'adapter', 'batch augment', 'tokenizer')
PIPELINE_KINDS = ('transform',)
DATASET_KINDS = ('dataset',)
"""Names of the registries that the hosts build the parts of a config from."""
_NMS = ('nms', 'soft_nms', 'nms_match', 'nms_rotated', 'nms_quadri')
WORDS = {
    'nms': _NMS,
    'nms_cfg': _NMS,
    'dqs_cfg': _NMS,
    'roi_layer': ('RoIAlign', 'RoIAlignRotated', 'RoIPool', 'DeformRoIPoolPack', 'ModulatedDeformRoIPoolPack'),
    'adapt_cfg': ('dilation', 'offset'),
}
"""Types that are in no registry, by the argument they stand in.

mmcv's `batched_nms` evaluates its own, mmdet looks RoI layers up in `mmcv.ops`.
"""


class KnownTypes:
    """What the registries of a config's scopes hold.

    MMEngine's own look-up imports and returns whatever a name that it does not know points at, so it is never asked.

    Args:
        trusted: Modules whose names are taken as they stand, with all that is in them.
    """

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self.trusted = tuple(trusted)

    def may_import(self, module: Any) -> bool:
        """Whether a config may have a module imported: an integration of mmsls, a host's, or a trusted one.

        Example:
            >>> KnownTypes().may_import('mmsls.integrations.mmdet'), KnownTypes().may_import('os')
            (True, False)
        """
        if not isinstance(module, str) or not all(part.isidentifier() for part in module.split('.')):
            return False
        return module.startswith(OURS) or module.split('.')[0] in HOSTS or self.trusts(module)

    def trusts(self, name: str) -> bool:
        """Whether a dotted name lies in a trusted module."""
        return any(name == module or name.startswith(f'{module}.') for module in self.trusted)

    def is_scope(self, scope: Any) -> bool:
        """Whether MMEngine may import `<scope>.registry`, as it does for whatever scope a config names."""
        return isinstance(scope, str) and (scope in SCOPES or self.trusts(scope))

    def registered_name(self, name: str, kinds: Sequence[str], scope: str) -> str | None:
        """Return the name under which the registries know a type, or None.

        Args:
            name: As a config writes it: `Name`, `scope.Name`, or the dotted path of a registered class.
            kinds: Names of the registries that may hold it.
            scope: The scope of this part of the config.
        """
        if self.trusts(name):
            return name
        first, dot, last = name.partition('.')
        if not dot:
            places = (scope, 'mmengine', *(['mmsls'] if 'adapter' in kinds else []))
            return name if any(name in registry for registry in registries(places, kinds)) else None
        if '.' not in last and self.is_scope(first):
            return name if any(last in registry for registry in registries((first,), kinds)) else None
        return self._by_path(name, kinds, scope)

    def _by_path(self, path: str, kinds: Sequence[str], scope: str) -> str | None:
        """Return the registered name of a class that is written as a path (new-style configs).

        It must be that very class, or of its package.
        """
        package, last = path.split('.')[0], path.rsplit('.', 1)[1]
        for place in dict.fromkeys((scope, 'mmengine', package)):
            for registry in registries((place,) if self.is_scope(place) else (), kinds):
                found = registry.get(last)
                own = f'{getattr(found, "__module__", "")}.{getattr(found, "__qualname__", "")}'
                if found is not None and (own == path or own.split('.')[0] == package in HOSTS):
                    return last if place == 'mmengine' else f'{place}.{last}'
        return None


def registries(scopes: Sequence[str], kinds: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the tables of some scopes' registries of some kinds, filled; a scope that is not installed has none."""
    for scope in dict.fromkeys(scopes):
        try:
            module = import_module(f'{scope}.registry')
        except ImportError:
            continue
        for registry in vars(module).values():
            if isinstance(registry, Registry) and registry.name in kinds and registry.scope == scope:
                registry.import_from_location()
                yield registry.module_dict
