"""A task as a folder to copy, zip or publish: slim weights as safetensors, pruning index, and what it takes to build the model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmsls import __version__, runs
from mmsls.backbones.base_files import sha256_of
from mmsls.checkpoint import META_KEY, META_VERSION, describe, frozen_backbones, read_slim, slim_states
from mmsls.cost.complexity import ParameterCounts, count_parameters
from mmsls.deploy.config_check import checked_config
from mmsls.deploy.known_types import KnownTypes
from mmsls.deploy.literal_config import write_literals
from mmsls.deploy.manifest import CARD, FORMAT, INDEX, MANIFEST, VERSION, WEIGHTS, check_files, inside, read_manifest
from mmsls.deploy.task_card import model_card
from mmsls.deploy.task_config import backbone_config, from_json, inference_config, to_json
from mmsls.deploy.task_models import load_whole, with_imports
from mmsls.files.writing import whole_file, whole_folder, write_json, write_text
from mmsls.pruning_index import PruningIndex


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
        trusted: Modules that whoever read the folder trusts.
    """

    folder: Path
    name: str
    backbone: dict[str, Any]
    parameters: ParameterCounts
    dataset_meta: dict[str, Any]
    config: Config
    index: PruningIndex | None
    trusted: tuple[str, ...] = ()

    def tensors(self) -> dict[str, Tensor]:
        """Read the weights: adapters, heads, buffers of trained modules.

        Raises:
            ValueError: If the file is no safetensors file.
        """
        path = inside(self.folder, WEIGHTS)
        try:
            return load_file(path)
        except Exception as error:  # what is damaged fails in as many ways: header, types that torch lacks, lengths
            raise ValueError(f'{path} is not a safetensors file ({str(error)[:200]})') from error


def pack(
    cfg: Config,
    checkpoint: str | Path,
    folder: str | Path,
    index: str | Path | None = None,
    name: str = '',
    trusted: Sequence[str] = (),
) -> Task:
    """Write a slim checkpoint as a task folder, after loading it once into the model that `cfg` builds.

    Args:
        cfg: Config that the checkpoint was trained (or retrained) with.
        checkpoint: A checkpoint that `SlimCheckpointHook` slimmed.
        folder: Where the task goes; must not exist. It is there whole or not at all.
        index: Index file; by default the config's own `pruning_index`.
        name: The task's name; by default the folder's.
        trusted: Modules of one's own that the config names types of, besides those it imports. Who opens the folder needs and trusts them too.

    Returns:
        The task.

    Raises:
        ValueError: If the folder exists, the checkpoint is not slim or does not fit the config, the index disagrees with it, or the config
            names what no task folder may (see `mmsls.deploy.config_check`).
    """
    folder, checkpoint = Path(folder).expanduser(), Path(checkpoint).expanduser()
    if folder.exists():
        raise ValueError(f'folder: {str(folder)!r} exists; name a new folder for the task')
    content = read_slim(checkpoint)
    model = runs.build_model(with_imports(cfg))
    load_whole(model, content['state_dict'], str(checkpoint))
    described = sole_backbone(describe(model), str(checkpoint))
    config = inference_config(cfg, content['meta'].get('dataset_meta'))
    backbone = backbone_config(config, described['name'])
    index_path = index or backbone.pop('pruning_index', None)
    backbone.pop('pruning_index', None)
    backbone |= {'kept_depths': tuple(described['kept_depths'])}
    trusted = (*trusted, *own_modules(config))
    config = checked_config(config, trusted)
    with whole_folder(folder) as partial:
        save_file(stored_tensors(model), partial / WEIGHTS)
        if index_path is not None:
            fingerprint = dict(frozen_backbones(model))[described['name']].fingerprint()
            agreeing(PruningIndex.load(Path(index_path).expanduser()), described, fingerprint).save(partial / INDEX)
        manifest = {
            'format': FORMAT,
            'version': VERSION,
            'name': name or folder.name,
            'mmsls': __version__,
            'backbone': described,
            'parameters': vars(count_parameters(model)),
            'files': {path.name: sha256_of(path) for path in sorted(partial.iterdir())},
            'dataset_meta': to_json(dict(content['meta'].get('dataset_meta') or {})),
            'config': to_json(config),
        }
        write_json(manifest, partial / MANIFEST)
        write_text(card_of(read_task(partial, trusted)), partial / CARD)
    return read_task(folder, trusted)


def own_modules(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the modules of one's own that a config imports, and warn: a folder that names them opens only where they are trusted."""
    listed = (config.get('custom_imports') or {}).get('imports') or ()
    known = KnownTypes()
    found = tuple(name for name in ([listed] if isinstance(listed, str) else listed) if not known.may_import(name))
    if found:
        asks = f'the task needs {", ".join(found)}: who opens it needs the code, and trusted={found!r} (tools: --trust)'
        print_log(f'pack: {asks}', 'current', logging.WARNING)
    return found


def stored_tensors(model: Any) -> dict[str, Tensor]:
    """Return what a task stores of a model: all but the base.

    The model's tensors, not the checkpoint's: a tuned one in a pruned config leaves adapters of removed blocks behind. Copies, since safetensors
    refuses tensors that share memory, such as tied layers of a head.
    """
    state = dict(model.state_dict())
    slim_states(model, [(state, '')])
    return {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in state.items()}


def read_task(folder: str | Path, trusted: Sequence[str] = ()) -> Task:
    """Read and check a task folder; the weights are read later, by `Task.tensors`.

    Nothing in the folder runs, whoever made it: its config is checked as `mmsls.deploy.config_check` says. The integration of mmsls that it
    lists is imported, and with it the toolbox.

    Args:
        folder: What `pack` wrote.
        trusted: Modules of others that the task may import and build from; name one only if you know its code.

    Raises:
        FileNotFoundError: If a part is missing.
        ValueError: If a part is damaged, of an unknown version, or names what a task may not.
    """
    folder = Path(folder).expanduser()
    manifest = read_manifest(folder)
    check_files(folder, manifest['files'])
    index = PruningIndex.load(inside(folder, INDEX)) if INDEX in manifest['files'] else None
    try:
        config = checked_config(from_json(manifest['config']), trusted)
        dataset_meta = from_json(manifest['dataset_meta'])
        if not isinstance(dataset_meta, dict):
            raise ValueError(f'dataset_meta is {str(dataset_meta)[:100]!r}, no mapping')
        return Task(
            folder=folder,
            name=manifest['name'],
            backbone=manifest['backbone'],
            parameters=ParameterCounts(**manifest['parameters']),
            dataset_meta=dataset_meta,
            config=Config(config),
            index=index,
            trusted=tuple(trusted),
        )
    except ValueError as error:
        raise ValueError(f'task folder {folder}: {error}') from error


def unpack(folder: str | Path, out: str | Path, trusted: Sequence[str] = ()) -> tuple[Path, Path]:
    """Write a task folder back as what the toolboxes read: a config, of literals alone, and a slim checkpoint.

    Args:
        folder: The task.
        out: Folder for `config.py` and `weights.pth`, made if absent; each file is there whole or not at all.
        trusted: As in `read_task`.

    Returns:
        The two paths.

    Raises:
        FileNotFoundError: If a part is missing.
        ValueError: If one of the two files exists, or the folder is refused.
    """
    task, out = read_task(folder, trusted), Path(out).expanduser()
    config, weights = out / 'config.py', out / 'weights.pth'
    for path in (config, weights):
        if path.exists():
            raise ValueError(f'out: {str(path)!r} exists; name another folder')
    meta = {'dataset_meta': task.dataset_meta, META_KEY: as_meta(task.backbone)}
    content = {'meta': meta, 'state_dict': task.tensors()}
    with whole_file(weights) as partial:
        torch.save(content, partial)
    write_literals(task.config.to_dict(), config)
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
