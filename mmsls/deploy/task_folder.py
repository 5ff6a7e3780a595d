"""A task as a folder to copy, zip or publish: slim weights as safetensors, pruning index, and what it takes to build the model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmsls import __version__, runs
from mmsls.backbones.base_files import sha256_of
from mmsls.checkpoint import META_KEY, META_VERSION, describe, frozen_backbones, read_slim, slim_states
from mmsls.complexity import ParameterCounts, count_parameters
from mmsls.deploy.task_card import model_card
from mmsls.deploy.task_config import backbone_config, from_json, inference_config, to_json
from mmsls.deploy.task_models import load_whole, with_imports
from mmsls.pruning_index import PruningIndex

FORMAT, VERSION = 'mmsls-task', 1
MANIFEST, WEIGHTS, INDEX, CARD = 'mmsls.json', 'adapters.safetensors', 'pruning_index.json', 'README.md'
FIELDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(('name', 'mmsls'), str),
    **dict.fromkeys(('backbone', 'parameters', 'files', 'dataset_meta', 'config'), dict),
}
BACKBONE_FIELDS: dict[str, type | tuple[type, ...]] = {
    'name': str,
    'base_checkpoint': str,
    'base_sha256': str,
    'adapter': (dict, type(None)),
    'depths': list,
    'kept_depths': list,
}
PARAMETER_FIELDS: dict[str, type | tuple[type, ...]] = dict.fromkeys(('total', 'trained', 'stored'), int)
CONFIG_FIELDS: dict[str, type | tuple[type, ...]] = {'model': dict}
"""What the manifest's parts hold, and of which type."""


@dataclass(frozen=True)
class Task:
    """What a task folder says, its weights still on disk.

    Attributes:
        folder: Where it lies.
        name: The task's name.
        backbone: `name` of the backbone in the model, `base_checkpoint`, `base_sha256`, `adapter`, `depths`, `kept_depths`.
        parameters: Numbers of parameters of the whole model.
        dataset_meta: Class names and such.
        config: What inference needs; the backbone stands at its kept depths.
        index: How the kept depths were decided, or None where no index did.
    """

    folder: Path
    name: str
    backbone: dict[str, Any]
    parameters: ParameterCounts
    dataset_meta: dict[str, Any]
    config: Config
    index: PruningIndex | None

    def tensors(self) -> dict[str, Tensor]:
        """Read the weights: adapters, heads, buffers of trained modules.

        Raises:
            ValueError: If the file is no safetensors file.
        """
        try:
            return load_file(self.folder / WEIGHTS)
        except SafetensorError as error:
            raise ValueError(f'{self.folder / WEIGHTS} is not a safetensors file ({error})') from error


def pack(
    cfg: Config, checkpoint: str | Path, folder: str | Path, index: str | Path | None = None, name: str = ''
) -> Task:
    """Write a slim checkpoint as a task folder, after loading it once into the model that `cfg` builds.

    Args:
        cfg: Config that the checkpoint was trained (or retrained) with.
        checkpoint: A checkpoint that `SlimCheckpointHook` slimmed.
        folder: Where the task goes; must not exist. It is there whole or not at all.
        index: Index file; by default the config's own `pruning_index`.
        name: The task's name; by default the folder's.

    Returns:
        The task.

    Raises:
        ValueError: If the folder exists, the checkpoint is not slim or does not fit the config, or the index disagrees with it.
    """
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f'folder: {str(folder)!r} exists; name a new folder for the task')
    content = read_slim(checkpoint)
    model = runs.build_model(with_imports(cfg))
    load_whole(model, content['state_dict'], str(checkpoint))
    described = sole_backbone(describe(model), str(checkpoint))
    state = dict(model.state_dict())
    slim_states(model, [(state, '')])
    # The model's, not the file's: a tuned checkpoint in a pruned config leaves adapters of removed blocks behind. Copies,
    # since safetensors refuses tensors that share memory, such as tied layers of a head.
    state = {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    config = inference_config(cfg)
    backbone = backbone_config(config, described['name'])
    configured = backbone.pop('pruning_index', None)
    index_path = index or configured
    backbone |= {'kept_depths': tuple(described['kept_depths'])}
    partial = folder.with_name(f'.{folder.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        save_file(state, partial / WEIGHTS)
        if index_path is not None:
            fingerprint = dict(frozen_backbones(model))[described['name']].fingerprint()
            agreeing(PruningIndex.load(index_path), described, fingerprint).save(partial / INDEX)
        files = {path.name: sha256_of(path) for path in sorted(partial.iterdir())}
        manifest = {
            'format': FORMAT,
            'version': VERSION,
            'name': name or folder.name,
            'mmsls': __version__,
            'backbone': described,
            'parameters': vars(count_parameters(model)),
            'files': files,
            'dataset_meta': to_json(dict(content['meta'].get('dataset_meta') or {})),
            'config': to_json(config),
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1) + '\n')
        (partial / CARD).write_text(card_of(read_task(partial)))
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return read_task(folder)


def read_task(folder: str | Path) -> Task:
    """Read and check a task folder; the weights are read later, by `Task.tensors`.

    Raises:
        FileNotFoundError: If a part is missing.
        ValueError: If a part is damaged or of an unknown version.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name, digest in manifest['files'].items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f'task folder {folder}: {name} is missing; copy the folder again, whole')
        if sha256_of(folder / name) != digest:
            raise ValueError(
                f'task folder {folder}: {name} is not the file that {MANIFEST} records; copy the folder again'
            )
    index = PruningIndex.load(folder / INDEX) if INDEX in manifest['files'] else None
    return Task(
        folder=folder,
        name=manifest['name'],
        backbone=manifest['backbone'],
        parameters=ParameterCounts(**manifest['parameters']),
        dataset_meta=from_json(manifest['dataset_meta']),
        config=Config(from_json(manifest['config'])),
        index=index,
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read `mmsls.json` and check that it has this release's format and fields.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is damaged or of an unknown version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f'task folder {folder}: {MANIFEST} is missing; tools/pack.py writes such a folder')
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f'{path} is cut short or not JSON ({error})') from error
    found = (content.get('format'), content.get('version')) if isinstance(content, dict) else None
    if found != (FORMAT, VERSION):
        raise ValueError(f'{path}: format and version are {found}; this release of mmsls reads {(FORMAT, VERSION)}')
    check_fields(content, FIELDS, str(path))
    check_fields(content['backbone'], BACKBONE_FIELDS, f'{path}, field backbone')
    check_fields(content['parameters'], PARAMETER_FIELDS, f'{path}, field parameters')
    check_fields(content['config'], CONFIG_FIELDS, f'{path}, field config')
    if WEIGHTS not in content['files']:
        raise ValueError(f'{path} lacks {WEIGHTS} in its field files')
    return content


def check_fields(content: Mapping[str, Any], fields: Mapping[str, type | tuple[type, ...]], where: str) -> None:
    """Refuse a mapping that lacks a field or holds one of another type.

    Raises:
        ValueError: That names the place, the field and what stands there.
    """
    missing = sorted(set(fields) - set(content))
    if missing:
        raise ValueError(f'{where} lacks {", ".join(missing)}')
    for name, types in fields.items():
        if not isinstance(content[name], types) or isinstance(content[name], bool):
            raise ValueError(f'{where}: {name} is {str(content[name])[:100]!r}, of a wrong type; pack the task again')


def unpack(folder: str | Path, out: str | Path) -> tuple[Path, Path]:
    """Write a task folder back as what the toolboxes read: a config and a slim checkpoint.

    Args:
        folder: The task.
        out: Folder for `config.py` and `weights.pth`, made if absent; each file is there whole or not at all.

    Returns:
        The two paths.

    Raises:
        ValueError: If one of the two files exists.
    """
    task, out = read_task(folder), Path(out)
    for path in (out / 'config.py', out / 'weights.pth'):
        if path.exists():
            raise ValueError(f'out: {str(path)!r} exists; name another folder')
    meta = {'dataset_meta': task.dataset_meta, META_KEY: as_meta(task.backbone)}
    content = {'meta': meta, 'state_dict': task.tensors()}
    out.mkdir(parents=True, exist_ok=True)
    config, weights = out / 'config.py', out / 'weights.pth'
    partial = out / 'task.partial'
    torch.save(content, partial)
    partial.replace(weights)
    partial.write_text(task.config.pretty_text)
    partial.replace(config)
    return config, weights


def card_of(task: Task) -> str:
    """Return the stub of a task's model card."""
    return model_card(task.name, task.backbone, task.parameters, task.dataset_meta.get('classes') or ())


def sole_backbone(meta: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return what `meta` says of its only frozen backbone, with its name.

    Raises:
        ValueError: If there is none, or more than one.
    """
    backbones = meta['backbones']
    if len(backbones) != 1:
        raise ValueError(f'{where}: a task has one frozen backbone, this model has {sorted(backbones) or "none"}')
    name, found = next(iter(backbones.items()))
    return {'name': name, **found}


def as_meta(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's backbone as a slim checkpoint's `meta` has it."""
    rest = {key: value for key, value in backbone.items() if key != 'name'}
    return {'version': META_VERSION, 'backbones': {backbone['name']: rest}}


def agreeing(index: PruningIndex, backbone: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> PruningIndex:
    """Return the index, or raise a ValueError if it is of another backbone, or the checkpoint does not stand at its depths."""
    index.check_backbone(fingerprint)
    if list(index.kept_depths) != list(backbone['kept_depths']):
        raise ValueError(
            f'kept_depths: the index keeps {tuple(index.kept_depths)}, the checkpoint holds {tuple(backbone["kept_depths"])}'
        )
    return index
