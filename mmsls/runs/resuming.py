"""Checkpoints of a training: written whole, found again after a kill, and which of them counts."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmsls.backbones.base_files import sha256_of
from mmsls.files.writing import whole_file
from mmsls.registry import names_class

SERIES = re.compile(r'(epoch|iter)_\d+\.pth')
HOOKS = ('ReseedHook', 'ResumeHook')


@contextmanager
def whole_checkpoints() -> Iterator[None]:
    """Have MMEngine write files whole or not at all.

    mmengine 0.10's `LocalBackend.put` writes in place, and `CheckpointHook` saves the last checkpoint again after a
    validation that is the best so far: a kill or a full disk leaves half a file where `last_checkpoint` points.
    """
    original = LocalBackend.put
    LocalBackend.put = put_whole
    try:
        yield
    finally:
        LocalBackend.put = original


def put_whole(backend: LocalBackend, obj: bytes, filepath: str | Path) -> None:  # noqa: ARG001 (a method's signature)
    """Write bytes to a file as `LocalBackend.put` does, whole or not at all."""
    with whole_file(filepath) as partial:
        partial.write_bytes(obj)


def with_resume_hooks(cfg: Config) -> Config:
    """Return a copy of a config whose training is the same whether it is broken off and resumed or not."""
    cfg = deepcopy(cfg)
    hooks = list(cfg.get('custom_hooks') or [])
    missing = [name for name in HOOKS if not any(is_hook(hook, name) for hook in hooks)]
    cfg.custom_hooks = [*hooks, *({'type': f'mmsls.{name}'} for name in missing)]
    return cfg


def is_hook(hook: Any, name: str) -> bool:
    """Whether a config's hook is the mmsls hook of a name."""
    return isinstance(hook, Mapping) and names_class(hook.get('type'), name)


def check_keeps_checkpoints(cfg: Mapping[str, Any]) -> None:
    """Refuse a training that leaves nothing to test or to go on from.

    Raises:
        ValueError: Naming the settings.
    """
    hooks = checkpoint_hooks(cfg)
    counted = cfg.get('train_cfg') or {}
    for hook in hooks:
        by_epoch = hook.get('by_epoch', True)
        length = counted.get('max_epochs' if by_epoch else 'max_iters') or (1 if by_epoch else 0)
        is_best = hook.get('save_best') is not None and cfg.get('val_dataloader') is not None
        if hook.get('save_last', True) or is_best or 0 < hook.get('interval', -1) <= length:
            return
    settings = {key: hook.get(key) for hook in hooks for key in ('interval', 'save_last', 'save_best') if key in hook}
    raise ValueError(
        f'default_hooks.checkpoint keeps no checkpoint of this training ({settings or "it is switched off"}); set '
        'save_last=True or save_best'
    )


def checkpoint_hooks(cfg: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the settings of a config's CheckpointHooks; MMEngine adds one where the config has no word on it."""
    default = (cfg.get('default_hooks') or {}).get('checkpoint', {'type': 'CheckpointHook', 'interval': 1})
    found = [default] if default is not None else []
    for hook in cfg.get('custom_hooks') or []:
        kind = hook.get('type') if isinstance(hook, Mapping) else None
        if (kind.__name__ if isinstance(kind, type) else str(kind).rpartition('.')[2]) == 'CheckpointHook':
            found.append(hook)
    return found


def chosen_checkpoint(runner: Runner) -> tuple[str, bool] | None:
    """Return the checkpoint of a finished training that counts, and whether it is the best one.

    That is what MMEngine's CheckpointHook calls the best, of its first metric where it has several, wherever it lies;
    else the last one. None if there is neither.
    """
    known = runner.message_hub.runtime_info
    for hook in runner.hooks:
        if not isinstance(hook, CheckpointHook) or not hook.save_best:
            continue
        for metric in hook.key_indicators:
            path = known.get('best_ckpt' if len(hook.key_indicators) == 1 else f'best_ckpt_{metric}')
            # A run that was moved and resumed finds its best one by name.
            for place in (path, str(Path(hook.out_dir) / Path(path).name)) if path else ():
                if is_there(place):
                    if len(hook.key_indicators) > 1:
                        print_log(f'{place} counts, the best of {metric}, which save_best names first', 'current')
                    return place, True
            if path:
                print_log(f'the best checkpoint, {path}, is not there any more', 'current', logging.WARNING)
    last = last_checkpoint(Path(runner.work_dir))
    return (last, False) if last else None


def last_checkpoint(folder: Path) -> str | None:
    """Return what a training left in its folder to go on from.

    A kill may fall between the removal of an old checkpoint and the writing of the next, or of the name of the last
    one; what is not whole is passed over.
    """
    pointer = folder / 'last_checkpoint'
    named = pointer.read_text().strip() if pointer.is_file() else ''
    if '://' in named:
        return named
    places = [named, str(folder / Path(named).name)] if named else []
    others = {path for place in (folder, Path(named).parent) if place.is_dir() for path in place.glob('*.pth')}
    series = [path for path in others if SERIES.fullmatch(path.name) and (named or path.parent == folder)]
    newest = sorted(series, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for place in dict.fromkeys([*places, *map(str, newest)]):
        if is_there(place):
            return place
    return None


def digest_of(location: str) -> str | None:
    """Return the SHA-256 of a local checkpoint; None for what lies elsewhere or nowhere."""
    return sha256_of(Path(location)) if '://' not in location and Path(location).is_file() else None


def is_there(location: str) -> bool:
    """Whether a checkpoint can be read to its end; a remote one is taken for granted."""
    if '://' in location:
        return True
    try:
        with zipfile.ZipFile(location) as file:
            return file.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False
