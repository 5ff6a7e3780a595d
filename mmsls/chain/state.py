"""What the chain wrote into its work directory, so that nothing else is ever replaced or removed."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from mmsls.chain.task import check_replaceable
from mmsls.files.reading import read_json
from mmsls.files.writing import write_json
from mmsls.parallel.main_process import on_main_process

STATE_FILE, INDEX_FILE, CURVE_FILE = 'chain.json', 'pruning_index.json', 'score_curve.png'
REPORT = (
    *('report.html', 'curve.csv', CURVE_FILE, 'score_curve.svg', 'maps.npz', 'depth_costs.json', 'origin.json'),
    *('curves.csv', 'curves.png', 'curves.svg'),
)
"""What lies beside an index: its report, and what goes into that."""
RESULTS = ('results.json', 'results.md')
CUT = ('pruned', 'bridged', 'refitted', 'retrained', 'decided_first')
"""Stages of a model at the kept depths."""
STAGES = ('full', 'tuned', 'score', *CUT)
TASK = 'task'
BRIDGED, REFITTED = 'bridged.pth', 'refitted.pth'
"""Checkpoints of the cut model: with its bridges fitted; with its head's last layer fitted anew."""
DONE_FILE, METRICS_FILE = 'done.json', 'metrics.json'
MARKS = (DONE_FILE, METRICS_FILE, 'last_checkpoint')
"""Files that tell a stage's folder."""
MEND = 'it says what the chain wrote; put a copy back, or give another work_dir'


class ChainState:
    """The state file of a chain: what it wrote, for which configs, with which seed.

    Args:
        work_dir: Where the chain works; need not exist.

    Raises:
        ValueError: If the state file is damaged, or names what does not lie in the work directory.
    """

    def __init__(self, work_dir: Path) -> None:
        self.work_dir, self.path = work_dir, work_dir / STATE_FILE
        self.content: dict[str, Any] = {}
        if work_dir.exists() and not work_dir.is_dir():
            raise ValueError(f'work_dir {str(work_dir)!r} is no folder; give another one')
        if self.path.exists():
            self.content = checked(read_json(self.path, MEND), self.path)

    def __contains__(self, name: str) -> bool:
        return name in self.wrote

    @property
    def wrote(self) -> list[str]:
        """Names in the work directory that the chain recorded as its own."""
        return self.content.get('wrote', [])

    def save(self, **fields: Any) -> None:
        """Set fields and write the file; in the main process, while the others wait."""
        self.content |= fields
        on_main_process(partial(write_json, self.content, self.path))

    def take_over(self, configs: str) -> None:
        """Make the work directory that of some configs, with one seed for all its runs.

        Where nothing came of an earlier run, it is taken over.

        Args:
            configs: What tells configs apart (`fingerprint`).

        Raises:
            ValueError: If it holds results of other configs, or what was not written here.
        """
        if self._has_results() and self.content.get('configs', configs) != configs:
            raise ValueError(
                f'work_dir {str(self.work_dir)!r} holds a run of other configs; give another one, or remove it '
                '(mmsls run --restart)'
            )
        self.check_unowned()
        on_main_process(partial(self.work_dir.mkdir, parents=True, exist_ok=True))
        seed = on_main_process(partial(secrets.randbelow, 2**31))
        self.save(configs=configs, seed=self.content.get('seed', seed), wrote=self.wrote)

    def own(self, *names: str) -> None:
        """Record names before they are written.

        Raises:
            ValueError: If something lies there that the chain did not record.
        """
        new = [name for name in names if name not in self]
        for name in new:
            self._check_free(name)
        if new:
            self.save(wrote=[*self.wrote, *new])

    def own_file(self, *names: str) -> None:
        """Record files that are replaced whatever lies there.

        They are a config that MMEngine dumps, an index that somebody put there for the chain.
        """
        new = [name for name in names if name not in self]
        if new:
            self.save(wrote=[*self.wrote, *new])

    def check_unowned(self) -> None:
        """Refuse a work directory that holds, under a name that the chain is going to use, what it did not write.

        Raises:
            ValueError: Naming it.
        """
        names = (*STAGES, TASK, *RESULTS) + (() if self.content else (INDEX_FILE, *REPORT))
        if self.content and 'wrote' not in self.content:  # of a release that kept no list
            self.content['wrote'] = [name for name in names if self._is_of_a_chain(name)]
        if self.content.get('forgetting'):
            raise ValueError(
                f'work_dir {str(self.work_dir)!r}: a --restart was broken off there; start with --restart again'
            )
        for name in names:
            self._check_free(name)
        if TASK in self and (self.work_dir / TASK).exists():
            check_replaceable(self.work_dir / TASK)

    def settle_depths(self, kept: tuple[Any, ...], stored: tuple[Any, ...]) -> None:
        """Record what the model is pruned to, before it is; the index file may have been edited since.

        Args:
            kept: Depths that the settings of now keep, or the blocks where they are not the lowest ones.
            stored: The same of the index file, for work directories in which nothing was recorded.

        Raises:
            ValueError: If a model was pruned and retrained to other depths here.
        """
        recorded = self.content.get('pruned_to', stored)
        pruned_to = tuple(tuple(item) if isinstance(item, list) else item for item in recorded)
        there = [name for name in CUT if (self.work_dir / name).exists()]
        if pruned_to != kept and there:
            raise ValueError(
                f'work_dir {str(self.work_dir)!r} holds a model pruned to {pruned_to}, these settings keep {kept}; '
                f'remove its {", ".join(there)}, or copy the rest of it to another work_dir'
            )
        self.save(pruned_to=list(kept))

    def _has_results(self) -> bool:
        names = (INDEX_FILE, *(f'*/{mark}' for mark in MARKS))
        return any(any(self.work_dir.glob(name)) for name in names)

    def _check_free(self, name: str) -> None:
        path = self.work_dir / name
        if name not in self and (path.is_symlink() or (path.exists() and not is_empty(path))):
            raise ValueError(
                f'work_dir {str(self.work_dir)!r} holds a {name} that this chain did not write; give another one, or '
                'move that away'
            )

    def _is_of_a_chain(self, name: str) -> bool:
        path = self.work_dir / name
        if name in STAGES:
            return any((path / mark).exists() for mark in MARKS)
        return path.exists()


def checked(content: Any, path: Path) -> dict[str, Any]:
    """Return what a state file holds.

    Raises:
        ValueError: If that is not what a chain writes.
    """
    names = content.get('wrote', []) if isinstance(content, dict) else None
    if not isinstance(names, list) or not isinstance(content.get('configs', ''), str):
        raise ValueError(f'{str(path)!r} is not the state of a chain; {MEND}')
    for name in names:
        if not isinstance(name, str) or not is_inside(name):
            raise ValueError(f'{str(path)!r}: wrote holds {name!r}, which is no name in its folder; {MEND}')
    return content


def is_empty(path: Path) -> bool:
    """Whether a path is a folder with nothing in it, in which nothing can be lost."""
    return path.is_dir() and not any(path.iterdir())


def is_inside(name: str) -> bool:
    """Whether a relative name stays in its folder, one level deep or two.

    Example:
        >>> [is_inside(name) for name in ('tuned', 'tuned/tune.py', '../tuned', '/tuned', 'a/b/c', '')]
        [True, True, False, False, False, False]
    """
    parts = PurePosixPath(name).parts
    return 1 <= len(parts) <= 2 and '..' not in parts and '/' not in parts and '\0' not in name
