"""Running a pipeline's transforms outside of its data set, on images of one's own."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmsls.features.coordinate_probe import NoMapError, Shape, seeded
from mmsls.features.leaves import class_names
from mmsls.features.probe_truth import write_box

HOSTS = ('mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'mmengine')
# Transforms of the hosts that leave every point in its place; colours that they change would only blur what is
# measured.
IN_PLACE = {
    *('Normalize', 'PhotoMetricDistortion', 'CLAHE', 'AdjustGamma', 'RGB2Gray', 'Rerange', 'RandomGrayscale'),
    *('ColorTransform', 'Color', 'Brightness', 'Contrast', 'Sharpness', 'Solarize', 'SolarizeAdd', 'Posterize'),
    *('Equalize', 'AutoContrast', 'Invert', 'YOLOXHSVRandomAug', 'CutOut', 'RandomCutOut', 'RandomErasing'),
    *('ColorJitter', 'Lighting', 'GaussianBlur', 'FilterAnnotations', 'GenerateEdge'),
    *('BioMedicalGaussianNoise', 'BioMedicalGaussianBlur', 'BioMedicalRandomGamma'),
    *('ToTensor', 'ImageToTensor', 'Transpose'),
}


class SetFlip:
    """Stands for a random flip whose outcome the meta information tells.

    Args:
        flip: Whether, and in which direction.
    """

    def __init__(self, flip: tuple[bool, str | None]) -> None:
        self.flip, self.direction = flip

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Flip the image alone."""
        if not self.flip:
            return results
        axes = {'horizontal': (1,), 'vertical': (0,), 'diagonal': (0, 1)}[self.direction or 'horizontal']
        return {**results, 'img': np.ascontiguousarray(np.flip(results['img'], axes))}


class SetTruth:
    """Stands for the annotations' loading: puts a box in place of the ground truth.

    Args:
        loaded: What the pipeline's own loading gave, as the example of the kind.
        box: (4,) as x1, y1, x2, y2.
        shape: (height, width) of the original image.
    """

    def __init__(self, loaded: Mapping[str, Any], box: np.ndarray, shape: Shape) -> None:
        self.loaded, self.box, self.shape = loaded, box, shape

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the box."""
        return {**results, **write_box(self.loaded, self.box, self.shape)}


def run(chain: Sequence[Any], results: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Send results through transforms that draw from a seed.

    Raises:
        NoMapError: If one gives nothing.
    """
    seeded(seed)
    for transform in chain:
        results = transform(results)
        if results is None:
            raise NoMapError('gives nothing')
    return results


def on_image(template: Mapping[str, Any], image: np.ndarray) -> dict[str, Any]:
    """Return the results of a pipeline's loaders with another image."""
    shape = image.shape[:2]
    sizes = {'img_shape': shape, 'ori_shape': shape, 'height': shape[0], 'width': shape[1]}
    return {**copy.deepcopy(dict(template)), 'img': image.copy(), **sizes}


def copied(transforms: Sequence[Any]) -> list[Any]:
    """Return copies of transforms, so that the run's keep caches and counters; those that don't copy are shared."""
    out = []
    for one in transforms:
        try:
            out.append(copy.deepcopy(one))
        except Exception:  # an open file or database
            out.append(one)
    return out


def from_host(transform: Any) -> bool:
    """Whether a transform is one of the toolboxes' own, which looks at nothing but the image's size."""
    inner = hasattr(transform, 'transforms') or hasattr(transform, 'transform_pipeline')
    return not inner and type(transform).__module__.split('.')[0] in HOSTS


def moves(transform: Any) -> bool:
    """Whether a transform may move points."""
    return not (from_host(transform) and class_names(transform) & IN_PLACE)


def flips(transform: Any) -> bool:
    """Whether it is a random flip whose outcome goes into the meta information."""
    return 'RandomFlip' in class_names(transform)


def refusal(transforms: Sequence[Any], reason: str) -> ValueError:
    """Return the error that names a transform, or several of which one is at fault."""
    names = ', '.join(type(one).__name__ for one in transforms)
    return ValueError(
        f'{names} in the pipeline that is scored {reason}, so features cannot be taken where the objects are: take it '
        'out, or load the annotations behind what resizes the image and let nothing but Pack...Inputs follow, as in '
        'every test pipeline of MMDetection and MMSegmentation'
    )
