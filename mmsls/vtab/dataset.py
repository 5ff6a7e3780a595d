"""One task's images and labels, read from its published list files."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmsls.registry import DATASETS
from mmsls.vtab.facts import facts_of
from mmsls.vtab.lists import LISTS, SHOWN, TEST_LIST, read_list


@DATASETS.register_module()
class VTAB1k(BaseDataset):
    """A task in VTAB-1k's published layout: `<root>/<task>/<list>.txt`, lines of `relative/path label`.

    Everything is checked when it is built: that the images are there, that labels are classes of the task, that classes
    have several images.

    Args:
        data_root: Folder that holds one folder per task.
        task: Name of the task: one of `mmsls.vtab.task_names`, or any other folder of the root.
        ann_file: Which list: `train800.txt`, `val200.txt`, `train800val200.txt` or `test.txt`.
        **arguments: Those of MMEngine's `BaseDataset` (`pipeline`, `test_mode`, ...).

    Raises:
        ValueError: If the task or the list is unknown, a line is not `path label`, a label is out of range, or a
            training list has one class.
        FileNotFoundError: If the list or an image is not there; missing images are counted and the first ones named.
    """

    def __init__(self, data_root: str, task: str, ann_file: str, **arguments: Any) -> None:
        self.facts = facts_of(task, data_root)
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
        classes = [str(number) for number in range(facts_of(cfg['task'], cfg['data_root']).classes)]
        root = str(Path(cfg['data_root']) / cfg['task'])
        return {'type': 'CustomDataset', 'data_root': root, 'data_prefix': '', 'metainfo': {'classes': classes}, **rest}

    def load_data_list(self) -> list[dict[str, Any]]:
        """Return path and label of every image, in the order of the list."""
        path = Path(self.ann_file)
        entries = read_list(path)
        self._check_labels(path, [label for _, label in entries])
        images = [(path.parent / name, label) for name, label in entries]
        check_images(path, [image for image, _ in images])
        return [{'img_path': str(image), 'gt_label': label} for image, label in images]

    def _check_labels(self, path: Path, labels: list[int]) -> None:
        """Refuse labels that are no class of the task; warn of classes that no silhouette is defined for."""
        wrong = sorted({label for label in labels if not 0 <= label < self.facts.classes})
        if wrong:
            raise ValueError(
                f'{path}: labels {wrong[:SHOWN]} are out of range: {self.facts.task!r} has {self.facts.classes} '
                f'classes, numbered from 0 to {self.facts.classes - 1}'
            )
        if len(set(labels)) < 2 and path.name != TEST_LIST:
            raise ValueError(f'{path}: all images are of class {labels[0]}; there is nothing to tell apart')
        single = sorted(label for label, count in Counter(labels).items() if count == 1)
        if single and path.name != TEST_LIST:
            print_log(
                f'{path}: {len(single)} classes have one image only (first: {single[:SHOWN]}); each counts as 0 in the '
                'silhouette',
                'current',
                logging.WARNING,
            )


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
