"""A task as a folder to copy, zip or publish: slim weights as safetensors, pruning index, what builds the model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from safetensors.torch import save_file
from torch import Tensor

from mmsls import __version__, runs
from mmsls.backbones.base_files import sha256_of
from mmsls.checkpoint import META_KEY, as_meta, read_slim, slim_states, sole_backbone
from mmsls.cost.complexity import ParameterCounts, count_parameters
from mmsls.deploy.config_check import checked_config
from mmsls.deploy.known_types import KnownTypes
from mmsls.deploy.literal_config import write_literals
from mmsls.deploy.manifest import CARD, FORMAT, INDEX, MANIFEST, VERSION, WEIGHTS, check_files, inside, read_manifest
from mmsls.deploy.task import Task
from mmsls.deploy.task_card import model_card
from mmsls.deploy.task_config import backbone_config, from_json, inference_config, to_json
from mmsls.deploy.task_models import load_whole, with_imports
from mmsls.files.writing import whole_file, whole_folder, write_json, write_text
from mmsls.pruning_index import PruningIndex
from mmsls.pruning_index.foundation import FINGERPRINT, NAMED, Foundation


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
        trusted: Modules of one's own that the config names types of, besides those it imports. Who opens the folder
            needs and trusts them too.

    Returns:
        The task.

    Raises:
        ValueError: If the folder exists, the checkpoint is not slim or does not fit the config, the index disagrees
            with it, or the config names what no task folder may (see `mmsls.deploy.config_check`).
    """
    folder, checkpoint = Path(folder).expanduser(), Path(checkpoint).expanduser()
    if folder.exists():
        raise ValueError(f'folder: {str(folder)!r} exists; name a new folder for the task')
    content = read_slim(checkpoint)
    model = runs.build_model(with_imports(cfg))
    load_whole(model, content['state_dict'], str(checkpoint))
    backbone_name, module = sole_backbone(model, str(checkpoint))
    foundation = module.foundation(backbone_name)
    config = inference_config(cfg, content['meta'].get('dataset_meta'))
    backbone = backbone_config(config, foundation.name)
    index_path = index or backbone.pop('pruning_index', None)
    for argument in ('pruning_index', 'kept_depths', 'kept_blocks'):
        backbone.pop(argument, None)
    backbone |= foundation.pruning()
    trusted = (*trusted, *own_modules(config))
    config = checked_config(config, trusted)
    with whole_folder(folder) as partial:
        save_file(stored_tensors(model), partial / WEIGHTS)
        if index_path is not None:
            agreeing(PruningIndex.load(Path(index_path).expanduser()), foundation).save(partial / INDEX)
        manifest = {
            'format': FORMAT,
            'version': VERSION,
            'name': name or folder.name,
            'mmsls': __version__,
            'backbone': foundation.as_dict(NAMED),
            'parameters': vars(count_parameters(model)),
            'files': {path.name: sha256_of(path) for path in sorted(partial.iterdir())},
            'dataset_meta': to_json(dict(content['meta'].get('dataset_meta') or {})),
            'config': to_json(config),
        }
        write_json(manifest, partial / MANIFEST)
        write_text(card_of(read_task(partial, trusted)), partial / CARD)
    return read_task(folder, trusted)


def own_modules(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a config's imports of one's own modules, and warn: such a folder opens only where they are trusted."""
    listed = (config.get('custom_imports') or {}).get('imports') or ()
    known = KnownTypes()
    found = tuple(name for name in ([listed] if isinstance(listed, str) else listed) if not known.may_import(name))
    if found:
        asks = f'the task needs {", ".join(found)}: who opens it needs the code, and trusted={found!r} (tools: --trust)'
        print_log(f'pack: {asks}', 'current', logging.WARNING)
    return found


def stored_tensors(model: Any) -> dict[str, Tensor]:
    """Return what a task stores of a model: all but the base.

    The model's tensors, not the checkpoint's: a tuned one in a pruned config leaves adapters of removed blocks behind.
    Copies, since safetensors refuses tensors that share memory, such as tied layers of a head.
    """
    state = dict(model.state_dict())
    slim_states(model, [(state, '')])
    return {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in state.items()}


def read_task(folder: str | Path, trusted: Sequence[str] = ()) -> Task:
    """Read and check a task folder; the weights are read later, by `Task.tensors`.

    Nothing in the folder runs, whoever made it: its config is checked as `mmsls.deploy.config_check` says. The
    integration of mmsls that it lists is imported, and with it the toolbox.

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
            foundation=Foundation.of(manifest['backbone'], NAMED, 'backbone'),
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
    meta = {'dataset_meta': task.dataset_meta, META_KEY: as_meta(task.foundation)}
    content = {'meta': meta, 'state_dict': task.tensors()}
    with whole_file(weights) as partial:
        torch.save(content, partial)
    write_literals(task.config.to_dict(), config)
    return config, weights


def card_of(task: Task) -> str:
    """Return the stub of a task's model card."""
    return model_card(task.name, task.foundation, task.parameters, task.dataset_meta.get('classes') or ())


def agreeing(index: PruningIndex, foundation: Foundation) -> PruningIndex:
    """Return the index; raise a ValueError if it is of another backbone, or the checkpoint is not at its depths."""
    index.check_backbone(foundation.as_dict(FINGERPRINT))
    for name, ours, theirs in (
        ('kept_depths', index.kept_depths, foundation.kept_depths),
        ('kept_blocks', index.subset, foundation.kept_blocks),
    ):
        if ours != theirs:
            raise ValueError(
                f'{name}: the index keeps {ours or "the lowest"}, the checkpoint holds {theirs or "the lowest"}'
            )
    return index
