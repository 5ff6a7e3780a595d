"""One task's images and labels, read from its published list files."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmsls.files.reading import read_text
from mmsls.registry import DATASETS
from mmsls.vtab.facts import facts_of

TEST_LIST = 'test.txt'
LISTS = ('train800.txt', 'val200.txt', 'train800val200.txt', TEST_LIST)
LONGEST = 1000
"""Characters of a path in a list."""
SHOWN = 3
"""How many entries an error names."""


@DATASETS.register_module()
class VTAB1k(BaseDataset):
    """A VTAB-1k task in its published layout: `<root>/<task>/<list>.txt`, lines of `relative/path label`.

    Everything is checked when it is built: that the images are there, that labels are classes of the task, that classes have several images.

    Args:
        data_root: Folder that holds one folder per task.
        task: Name of the task (see `mmsls.vtab.task_names`).
        ann_file: Which list: `train800.txt`, `val200.txt`, `train800val200.txt` or `test.txt`.
        **arguments: Those of MMEngine's `BaseDataset` (`pipeline`, `test_mode`, ...).

    Raises:
        ValueError: If the task or the list is unknown, a line is not `path label`, a label is out of range, or a training list has one class.
        FileNotFoundError: If the list or an image is not there; missing images are counted and the first ones named.
    """

    def __init__(self, data_root: str, task: str, ann_file: str, **arguments: Any) -> None:
        self.facts = facts_of(task)
        if ann_file not in LISTS:
            raise ValueError(f'ann_file must be one of {LISTS}, got {ann_file!r}')
        folder = Path(data_root).expanduser() / task
        arguments.setdefault('metainfo', {'classes': tuple(str(number) for number in range(self.facts.classes))})
        super().__init__(ann_file=ann_file, data_root=str(folder), **arguments)

    @staticmethod
    def as_host_dataset(cfg: Mapping[str, Any]) -> dict[str, Any]:
        """Return the config of MMPreTrain's own data set for the same list file; asked for by `mmsls.deploy.merging`.

        Example:
            >>> VTAB1k.as_host_dataset({'data_root': 'data', 'task': 'svhn', 'ann_file': 'test.txt'})['data_root']
            'data/svhn'
        """
        rest = {key: value for key, value in cfg.items() if key not in ('type', 'data_root', 'task')}
        classes = [str(number) for number in range(facts_of(cfg['task']).classes)]
        root = str(Path(cfg['data_root']) / cfg['task'])
        return {'type': 'CustomDataset', 'data_root': root, 'data_prefix': '', 'metainfo': {'classes': classes}, **rest}

    def load_data_list(self) -> list[dict[str, Any]]:
        """Return path and label of every image, in the order of the list."""
        path = Path(self.ann_file)
        if not path.is_file():
            raise FileNotFoundError(
                f'task {self.facts.task!r}: no list at {str(path)!r}; data_root must hold the folder {self.facts.task!r} '
                f'with its lists {", ".join(LISTS)}'
            )
        entries = [
            parse_line(path, number, line)
            for number, line in enumerate(read_text(path).splitlines(), 1)
            if line.strip()
        ]
        self._check_labels(path, [label for _, label in entries])
        images = [(path.parent / name, label) for name, label in entries]
        check_images(path, [image for image, _ in images])
        return [{'img_path': str(image), 'gt_label': label} for image, label in images]

    def _check_labels(self, path: Path, labels: list[int]) -> None:
        """Refuse labels that are no class of the task; warn of classes that no silhouette is defined for."""
        if not labels:
            raise ValueError(f'{path}: the list is empty')
        wrong = sorted({label for label in labels if not 0 <= label < self.facts.classes})
        if wrong:
            raise ValueError(
                f'{path}: labels {wrong[:SHOWN]} are out of range: {self.facts.task!r} has {self.facts.classes} classes, '
                f'numbered from 0 to {self.facts.classes - 1}'
            )
        if len(set(labels)) < 2 and path.name != TEST_LIST:
            raise ValueError(f'{path}: all images are of class {labels[0]}; there is nothing to tell apart')
        single = sorted(label for label, count in Counter(labels).items() if count == 1)
        if single and path.name != TEST_LIST:
            print_log(
                f'{path}: {len(single)} classes have one image only (first: {single[:SHOWN]}); each counts as 0 in the silhouette',
                'current',
                logging.WARNING,
            )


def parse_line(path: Path, number: int, line: str) -> tuple[str, int]:
    """Split a line into path and label; paths may hold spaces.

    Raises:
        ValueError: If the line has no whole number at its end, or the path is none inside the task's folder.

    Example:
        >>> parse_line(Path('test.txt'), 1, 'images/test/a b.jpg 7')
        ('images/test/a b.jpg', 7)
    """
    name, _, label = line.strip().rpartition(' ')
    if not name or not re.fullmatch('-?[0-9]{1,9}', label):
        raise ValueError(f'{path}, line {number}: {line[:100]!r} is not "relative/path label"')
    if Path(name).is_absolute() or '..' in Path(name).parts or '\0' in name or len(name) > LONGEST:
        raise ValueError(f'{path}, line {number}: {name[:100]!r} is no path inside the folder of the task')
    return name, int(label)


def check_images(path: Path, images: list[Path]) -> None:
    """Refuse a list with images that are not there, or files without a byte.

    Raises:
        FileNotFoundError: With their number and the first ones.
    """
    sizes = {image: size_of(image) for image in images}
    for what, size in (('missing', None), ('empty files', 0)):
        wrong = [str(image) for image in images if sizes[image] == size]
        if wrong:
            more = ', ...' if len(wrong) > SHOWN else ''
            raise FileNotFoundError(
                f'{path}: {len(wrong)} of {len(images)} images are {what}: {", ".join(wrong[:SHOWN])}{more}'
            )


def size_of(image: Path) -> int | None:
    """Return the bytes of a file, None where there is none."""
    try:
        return image.stat().st_size if image.is_file() else None
    except OSError:  # a name that no file can have
        return None
