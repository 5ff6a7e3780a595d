"""A data set of digit scenes on disk: images, COCO annotations and semantic maps."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmsls.demo.digits import DigitPool, load_digit_pools
from mmsls.demo.scene_drawing import SceneDigit, draw_scene, semantic_map

CLASSES = tuple(str(digit) for digit in range(10))
_SPLITS = ('train', 'val', 'test')
_STAMP = 'scenes.json'
_VERSION = 2  # raise it whenever the same settings would give other bytes


@dataclass(frozen=True)
class SceneSettings:
    """Everything that decides the bytes of a scene set.

    Attributes:
        num_images: Images per split; splits are ``train``, ``val`` and ``test``.
        image_size: Height and width in pixels.
        digits_per_image: Fewest and most digits asked of a scene; a crowded one may hold fewer, but never none.
        digit_size: Smallest and largest side in pixels that an 8x8 digit is enlarged to.
        max_angle: Largest rotation either way, in degrees.
        clutter: Fewest and most shapes behind the digits.
        seed: Seed of everything but the pools of digits, which never change.

    Raises:
        ValueError: A value that no scene can be drawn from.
    """

    num_images: Mapping[str, int] = field(default_factory=lambda: {'train': 400, 'val': 400, 'test': 150})
    image_size: tuple[int, int] = (128, 128)
    digits_per_image: tuple[int, int] = (1, 3)
    digit_size: tuple[int, int] = (40, 60)
    max_angle: float = 8.0
    clutter: tuple[int, int] = (0, 4)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.num_images or set(self.num_images) - set(_SPLITS) or min(self.num_images.values()) < 1:
            raise ValueError(
                f'num_images={dict(self.num_images)}: give at least 1 for each of {_SPLITS} that is wanted'
            )
        for name, least in (('digits_per_image', 1), ('digit_size', 8), ('clutter', 0)):
            low, high = getattr(self, name)
            if not least <= low <= high:
                raise ValueError(f'{name}={(low, high)}: give two ascending numbers of at least {least}')
        if self.digit_size[1] * 2 > min(self.image_size):
            raise ValueError(f'digit_size={self.digit_size}: at most half of image_size={self.image_size} has room')

    def to_dict(self) -> dict[str, Any]:
        """Give the settings in the form that the stamp stores."""
        return json.loads(json.dumps(asdict(self)))

    def digest(self) -> str:
        """Hash the settings together with the version of the generator.

        Example:
            >>> SceneSettings().digest() == SceneSettings(seed=1).digest()
            False
        """
        text = json.dumps({'version': _VERSION, **self.to_dict()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def make_digit_scenes(root: str | Path, settings: SceneSettings | None = None) -> Path:
    """Write a scene set, unless the same one is there already.

    The set holds, per split, ``{split}/*.png``, ``semantic/{split}/*.png`` (the class of each pixel, 10 is background)
    and ``annotations/{split}.json`` (COCO, masks as uncompressed RLE). It is built beside ``root``, in a folder that
    takes its name at the very end, so an interrupted run leaves nothing half-made and the next one starts again.

    Args:
        root: Folder of the set. A set that was made with other settings is replaced.
        settings: What to draw; the demo's defaults where left out.

    Returns:
        The folder.

    Raises:
        ValueError: ``root`` holds something that is no scene set.
    """
    root, settings = Path(root), settings or SceneSettings()
    if _is_current(root, settings):
        return root
    building = root.with_name(f'{root.name}.building')
    shutil.rmtree(building, ignore_errors=True)
    pools = load_digit_pools()
    for split in settings.num_images:
        _write_split(building, split, pools[split], settings)
    stamp = {'digest': settings.digest(), 'version': _VERSION, 'settings': settings.to_dict()}
    (building / _STAMP).write_text(json.dumps(stamp, indent=1, sort_keys=True))
    shutil.rmtree(root, ignore_errors=True)
    building.rename(root)
    return root


def encode_rle(mask: np.ndarray) -> dict[str, list[int]]:
    """Encode a mask of shape (H, W) as COCO's uncompressed run lengths: column by column, background first.

    Example:
        >>> encode_rle(np.array([[True, False], [True, True]]))
        {'size': [2, 2], 'counts': [0, 2, 1, 1]}
    """
    flat = np.concatenate([[False], mask.ravel(order='F'), [False]])
    borders = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]), [mask.size]])
    counts = np.diff(borders).tolist()
    if counts[-1] == 0:
        counts.pop()
    return {'size': [int(side) for side in mask.shape], 'counts': counts}


def _is_current(root: Path, settings: SceneSettings) -> bool:
    """Tell whether ``root`` holds exactly this set; refuse a folder that is not ours to replace."""
    stamp = root / _STAMP
    if stamp.is_file():
        return json.loads(stamp.read_text()).get('digest') == settings.digest()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ValueError(f'root={str(root)!r} exists and is no scene set: name another folder or remove it')
    return False


def _write_split(root: Path, split: str, pool: DigitPool, settings: SceneSettings) -> None:
    """Draw one split and write its images, semantic maps and COCO file."""
    for folder in (root / split, root / 'semantic' / split, root / 'annotations'):
        folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(settings.num_images[split]):
        name = f'{number:05d}.png'
        picture, digits = _draw_numbered(number, split, pool, settings)
        Image.fromarray(picture).save(root / split / name)
        Image.fromarray(semantic_map(digits, settings.image_size)).save(root / 'semantic' / split / name)
        images.append({'id': number, 'file_name': name, 'height': picture.shape[0], 'width': picture.shape[1]})
        annotations += [_annotation(digit, number, len(annotations) + rank) for rank, digit in enumerate(digits, 1)]
    coco = {
        'info': {'description': f'digit scenes, {split}', 'source': 'sklearn.datasets.load_digits'},
        'images': images,
        'annotations': annotations,
        'categories': [{'id': label, 'name': name} for label, name in enumerate(CLASSES)],
    }
    (root / 'annotations' / f'{split}.json').write_text(json.dumps(coco))


def _draw_numbered(
    number: int, split: str, pool: DigitPool, settings: SceneSettings
) -> tuple[np.ndarray, list[SceneDigit]]:
    """Draw image ``number`` of a split from its own generator, so that a longer split begins with the same images."""
    rng = np.random.default_rng([settings.seed, _SPLITS.index(split), number])
    return draw_scene(
        pool,
        rng,
        image_size=settings.image_size,
        num_digits=int(rng.integers(*settings.digits_per_image, endpoint=True)),
        digit_size=settings.digit_size,
        max_angle=settings.max_angle,
        num_clutter=int(rng.integers(*settings.clutter, endpoint=True)),
    )


def _annotation(digit: SceneDigit, image_id: int, annotation_id: int) -> dict[str, Any]:
    """Describe one digit as COCO does; ``source`` is the handwritten digit's row, so that splits can be checked."""
    return {
        'id': annotation_id,
        'image_id': image_id,
        'category_id': digit.label,
        'bbox': list(digit.box),
        'area': int(digit.mask.sum()),
        'iscrowd': 0,
        'segmentation': encode_rle(digit.mask),
        'source': digit.source,
    }
