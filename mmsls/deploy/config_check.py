"""A config from a stranger is data: what in it could run, import or read is refused by name, or dropped."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from mmengine.logging import print_log

from mmsls.deploy.config_values import LOCATION, PartCheck, refusal
from mmsls.deploy.known_types import DATASET_KINDS, MODEL_KINDS, PIPELINE_KINDS, KnownTypes

PARTS: dict[str, tuple[str, ...]] = {
    'model': MODEL_KINDS,
    'test_pipeline': PIPELINE_KINDS,
    'test_dataloader': DATASET_KINDS,
}
KEYS = ('default_scope', 'custom_imports', *PARTS)
"""All that a task's config may hold."""
DATASET_KEYS = {'type', 'metainfo', 'pipeline'}


def checked_config(config: Mapping[str, Any], trusted: Sequence[str] = ()) -> dict[str, Any]:
    """Return a task's config as plain data that builds registered classes only, and import what it lists.

    Every `type`, wherever it stands, is a name that the registries of its scope know; modules are imported from a short
    list; nothing else in it names a file, an address or a piece of code. `init_cfg` and `pretrained` are dropped, and
    the log says so.

    Args:
        config: What the manifest holds, or what `inference_config` made.
        trusted: Modules whose names may stand in `custom_imports` and before a `type`; importing them runs them.

    Raises:
        ValueError: That names the place, the value and the mend.

    Example:
        >>> checked_config({'model': {'type': 'os.system', 'command': 'true'}})
        Traceback (most recent call last):
        ...
        ValueError: config.model.type is 'os.system', which no registry of scope 'mmengine' knows; ...
    """
    known = KnownTypes(trusted)
    unknown = sorted(map(str, set(config) - set(KEYS)))
    if unknown or not isinstance(config.get('model'), Mapping):
        held = str(unknown)[:200] if unknown else 'no model'
        raise ValueError(f'config: it holds {held}; a task has a model and at most {", ".join(KEYS)}')
    scope = config.get('default_scope', 'mmengine')
    if not known.is_scope(scope):
        raise ValueError(refusal('config.default_scope', scope, 'no scope of the toolboxes or of a trusted module'))
    import_listed(config.get('custom_imports'), known)
    found = {key: config[key] for key in KEYS if key in config}
    dropped: list[str] = []
    for key, kinds in PARTS.items():
        if key in found:
            found[key] = PartCheck(known, dropped).checked(found[key], f'config.{key}', kinds, scope)
    check_dataloader(found.get('test_dataloader'))
    if dropped:
        said = f'task: {", ".join(dropped)} dropped: the weights come from the folder'
        print_log(said, 'current', logging.WARNING)
    return found


def import_listed(listed: Any, known: KnownTypes) -> None:
    """Import what `custom_imports` lists, if all of it may be.

    Raises:
        ValueError: If it has another form, a module is not on the list, or cannot be imported.
    """
    if listed is None:
        return
    place = 'config.custom_imports'
    names = listed.get('imports') if isinstance(listed, Mapping) else None
    names = [names] if isinstance(names, str) else names
    rest = set(listed) - {'imports', 'allow_failed_imports'} if isinstance(listed, Mapping) else set()
    if not isinstance(names, (list, tuple)) or rest:
        raise ValueError(refusal(place, listed, "not of the form dict(imports=['module'])"))
    if not isinstance(listed.get('allow_failed_imports', False), bool):
        raise ValueError(refusal(place, listed, 'allow_failed_imports is no bool'))
    for number, name in enumerate(names):
        if not known.may_import(name):
            means = (
                'neither an integration of mmsls nor of a toolbox; importing it would run it. If you know what it '
                'does, '
            )
            module = str(name).split('.')[0][:100]
            raise ValueError(
                refusal(f'{place}.imports[{number}]', name, f'{means}pass trusted=({module!r},) (--trust {module})')
            )
    for number, name in enumerate(names):
        try:
            import_module(name)
        except ImportError as error:
            raise ValueError(
                refusal(f'{place}.imports[{number}]', name, f'not to be imported here ({str(error)[:300]})')
            ) from error


def check_dataloader(loader: Any) -> None:
    """Refuse a data loader with more than the description of its data set, or whose `metainfo` names a file to read.

    Raises:
        ValueError: That names what is too much.
    """
    if loader is None:
        return
    dataset = loader.get('dataset') if isinstance(loader, Mapping) else None
    if not isinstance(dataset, Mapping) or set(loader) != {'dataset'} or set(dataset) - DATASET_KEYS:
        raise ValueError(
            refusal('config.test_dataloader', loader, f'not a dataset with {", ".join(sorted(DATASET_KEYS))} alone')
        )
    metainfo, place = dataset.get('metainfo'), 'config.test_dataloader.dataset.metainfo'
    if not isinstance(metainfo, (Mapping, type(None))):
        raise ValueError(refusal(place, metainfo, 'no mapping'))
    for key, text in (metainfo or {}).items():
        if isinstance(text, str) and LOCATION.search(text):
            why = 'a path or an address, which MMEngine would read; write what it holds'
            raise ValueError(refusal(f'{place}.{key}', text, why))
