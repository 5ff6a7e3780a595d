"""The manifest of a task folder, and its other files: whatever stands there is data, checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmsls.backbones.base_files import sha256_of
from mmsls.files.reading import parse_json, read_text
from mmsls.pruning_index.fields import LONGEST, is_sha256
from mmsls.pruning_index.foundation import NAMED, Foundation

FORMAT, VERSION = 'mmsls-task', 1
MANIFEST, WEIGHTS, INDEX, CARD = 'mmsls.json', 'adapters.safetensors', 'pruning_index.json', 'README.md'
LARGEST = 16 << 20
"""Bytes that a manifest may have; what `pack` writes has a thousandth of it."""
Types = type | tuple[type, ...]
FIELDS: dict[str, Types] = {
    **dict.fromkeys(('name', 'mmsls'), str),
    **dict.fromkeys(('backbone', 'parameters', 'files', 'dataset_meta', 'config'), dict),
}
PARAMETER_FIELDS: dict[str, Types] = dict.fromkeys(('total', 'trained', 'stored'), int)
CONFIG_FIELDS: dict[str, Types] = {'model': dict}
"""What the manifest's parts hold, and of which type."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read `mmsls.json` and check that it has this release's format and fields.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is damaged or of an unknown version; the message names the file and the field.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f'task folder {folder}: {MANIFEST} is missing; mmsls pack writes such a folder')
    inside(folder, MANIFEST)
    text = read_text(path, LARGEST)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise ValueError(f'{path}: {error}; copy the folder again') from error
    found = (content.get('format'), content.get('version')) if isinstance(content, dict) else None
    if found != (FORMAT, VERSION):
        raise ValueError(
            f'{path}: format and version are {str(found)[:100]}; this release of mmsls reads {(FORMAT, VERSION)}'
        )
    check_fields(content, FIELDS, str(path))
    Foundation.of(content['backbone'], NAMED, f'{path}, field backbone')
    check_fields(content['parameters'], PARAMETER_FIELDS, f'{path}, field parameters', exact=True)
    check_fields(content['config'], CONFIG_FIELDS, f'{path}, field config')
    check_values(content, str(path))
    return content


def check_fields(content: Mapping[str, Any], fields: Mapping[str, Types], where: str, exact: bool = False) -> None:
    """Refuse a mapping that lacks a field, holds one of another type or, where `exact`, one more.

    Raises:
        ValueError: That names the place, the field and what stands there.
    """
    missing = sorted(set(fields) - set(content))
    if missing:
        raise ValueError(f'{where} lacks {", ".join(missing)}')
    surplus = sorted(set(content) - set(fields))
    if exact and surplus:
        raise ValueError(f'{where} has {", ".join(surplus)[:100]}, which this release does not know')
    for name, types in fields.items():
        if not isinstance(content[name], types) or isinstance(content[name], bool):
            raise ValueError(f'{where}: {name} is {str(content[name])[:100]!r}, of a wrong type; pack the task again')


def check_values(content: Mapping[str, Any], where: str) -> None:
    """Refuse values that no task has: hashes that are none, depths that are no counts, names of files elsewhere.

    Raises:
        ValueError: That names the field and the value.
    """
    files = content['files']
    checks = {f'files.{name}': is_sha256(digest) for name, digest in files.items()}
    checks |= {name: len(content[name]) <= LONGEST for name in ('name', 'mmsls')}
    checks |= {f'parameters.{name}': 0 <= count <= 1 << 62 for name, count in content['parameters'].items()}
    wrong = [name for name, right in checks.items() if not right]
    if wrong:
        raise ValueError(f'{where}: {wrong[0][:100]} has a value that no task has; pack the task again')
    strange = sorted(set(files) - {WEIGHTS, INDEX})
    if strange:
        raise ValueError(f'{where}: files names {strange[0][:100]!r}; a task has {WEIGHTS} and {INDEX}')
    if WEIGHTS not in files:
        raise ValueError(f'{where} lacks {WEIGHTS} in its field files')


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Check that a folder's files are there and are the ones that the manifest records.

    Raises:
        FileNotFoundError: If one is missing.
        ValueError: If one is another, or a link to outside the folder.
    """
    for name, digest in files.items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f'task folder {folder}: {name} is missing; copy the folder again, whole')
        if sha256_of(inside(folder, name)) != digest:
            raise ValueError(
                f'task folder {folder}: {name} is not the file that {MANIFEST} records; copy the folder again'
            )


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file of the folder.

    Raises:
        ValueError: If it is a link that leads out of it.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f'task folder {folder}: {name} is a link to {path.resolve()}, outside; copy the file itself there'
        )
    return path
