"""Where a run's scores come from, for the commands of its page: config, weights, and which criteria failed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmsls.features.maps import curve_hash
from mmsls.files.given import given
from mmsls.files.reading import read_json
from mmsls.files.writing import write_json
from mmsls.pruning_index import PruningIndex
from mmsls.pruning_index.keeping import ORIGIN_FILE, beside


@dataclass(frozen=True)
class Origin:
    """Where scores come from; what is not known is empty.

    Attributes:
        config: The config, as it was named; a file by its absolute path.
        options: `key=value` settings that override it.
        checkpoint: The weights, by their absolute path; empty for the untuned base, too.
        failed: Other criteria that had no curve, and why.
    """

    config: str = ''
    options: tuple[str, ...] = ()
    checkpoint: str = ''
    failed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cfg: Any, checkpoint: str | None, failed: Mapping[str, str] | None = None) -> Origin:
        """Return what a config and the weights of a run say.

        Args:
            cfg: MMEngine's config; one that `mmsls.runs.load_config` read knows how it was named.
            checkpoint: The weights; None for the untuned base.
            failed: As for the class.
        """
        config, options = given(cfg) or (getattr(cfg, 'filename', None) or '', ())
        return cls(absolute(config), tuple(options), absolute(checkpoint or ''), dict(failed or {}))

    def save(self, index_path: Path, index: PruningIndex) -> None:
        """Write it beside an index.

        Raises:
            OSError: If it cannot be written.
        """
        content = {**vars(self), 'options': list(self.options), 'curve': curve_hash(index)}
        write_json(content, beside(index_path, ORIGIN_FILE))

    @classmethod
    def load(cls, index_path: Path, index: PruningIndex) -> Origin:
        """Read what lies beside an index; nothing is known where there is no such file, or one of another curve.

        Raises:
            ValueError: If the file is damaged.
        """
        path = beside(index_path, ORIGIN_FILE)
        try:
            content = read_json(path, 'the commands of the page name neither config nor checkpoint')
        except FileNotFoundError:
            return cls()
        texts = isinstance(content, dict) and all(isinstance(content.get(key), str) for key in ('config', 'checkpoint'))
        if not texts or not is_texts(content.get('options')) or not is_told(content.get('failed')):
            raise ValueError(f'{path.name} is damaged, and left out: the commands of the page lack what it says')
        if content.get('curve') != curve_hash(index):
            return cls()
        return cls(content['config'], tuple(content['options']), content['checkpoint'], content['failed'])


def is_texts(value: Any) -> bool:
    """Whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def is_told(value: Any) -> bool:
    """Whether a value says of some names something in words."""
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


def absolute(location: str) -> str:
    """Return the absolute path of what lies on this machine; a name or a URL stays as it is."""
    return os.path.abspath(location) if location and os.path.exists(location) else location


def nearby(location: str | Path) -> str:
    """Return how a path is typed from the folder that the program runs in: relative where it lies inside."""
    path, here = Path(location), Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else str(location)
