"""Where a chain of transforms puts an image and its ground truth, found out by running it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mmsls.features.coordinate_probe import AxisMap, Shape, measure
from mmsls.features.image_frame import ImageFrame
from mmsls.features.pipeline_runs import SetFlip, SetTruth, flips, on_image, refusal, run
from mmsls.features.probe_truth import read_box, without_truth

# What draws is found by drawing so often.
SEEDS = 12

Flip = tuple[bool, str | None]
"""Whether an image was flipped, and in which direction."""


def measured(chain: Sequence[Any], template: Any, shape: Shape, seed: int = 0) -> tuple[AxisMap, Shape]:
    """Measure where a chain puts the points of an image, and the size that it gives.

    Raises:
        ValueError: If it has no such map; it names the transform that makes it so.
    """

    def attempt(part: Sequence[Any]) -> tuple[AxisMap, Shape]:
        return measure(lambda image: run(part, on_image(template, image), seed)['img'], shape)

    try:
        return attempt(chain)
    except Exception:
        for end in range(1, len(chain) + 1):
            try:
                attempt(chain[:end])
            except Exception as error:
                raise refusal([chain[end - 1]], str(error) or repr(error)) from error
        raise


def outcomes(chain: Sequence[Any], template: Any, shape: Shape) -> Iterable[tuple[np.ndarray, int]]:
    """Yield every new outcome of a chain that draws, with its seed."""
    seen: list[np.ndarray] = []
    for seed in range(SEEDS):
        try:
            outcome = np.asarray(run(chain, on_image(template, noise(shape)), seed)['img'])
        except Exception:
            measured(chain, template, shape, seed)  # refuses by name
            raise
        if not any(np.array_equal(outcome, one) for one in seen):
            seen.append(outcome)
            yield outcome, seed


def with_flip(chain: Sequence[Any], flip: Flip | None, template: Mapping[str, Any]) -> list[Any]:
    """Return a chain with the outcome of its flip settled.

    Raises:
        ValueError: If it draws, and the meta information does not tell.
    """
    if flip is None:
        drawn = [one for one in chain if flips(one)]
        images = [run(drawn, on_image(template, noise((8, 8))), seed)['img'] for seed in range(SEEDS)]
        if any(not np.array_equal(one, images[0]) for one in images):
            raise refusal(
                drawn,
                "draws, and the meta information doesn't tell what (add flip and flip_direction to meta_keys)",
            )
        return list(chain)
    return [SetFlip(flip) if flips(one) else one for one in chain]


def truth_moves(prefix: list[Any], suffix: list[Any], loaded: dict[str, Any], shape: Shape, masks: bool) -> bool:
    """Try whether what stands behind the annotations moves them as it moves the image, or leaves both alone.

    Args:
        prefix: What moves the image before the annotations are loaded, without chance.
        suffix: What moves either behind.
        loaded: What the annotations' loading gave for the first record.
        shape: (height, width) of an image to try it on.
        masks: Whether masks and maps are used, not boxes alone.

    Raises:
        ValueError: If it moves them in a frame that is not theirs, or the image alone.
    """
    template = {key: value for key, value in without_truth(loaded).items() if key != 'img'}
    before, _ = measured(prefix, template, shape)
    moved_along, still_at_home = False, before.agrees(AxisMap(), shape)
    middle = SetTruth(loaded, _box_in((0, 0, shape[1], shape[0])), shape)
    for _, seed in outcomes([*prefix, middle, *suffix], template, shape):
        whole, size = measured([*prefix, middle, *suffix], template, shape, seed)
        seen = ImageFrame(whole.scale, shape, size, whole.offset).visible
        truth = SetTruth(loaded, _box_in(seen), shape)
        image = np.zeros((*shape, 3), np.uint8)
        moved, canvas = read_box(run([*prefix, truth, *suffix], on_image(template, image), seed))
        stays, goes = (moved is not None and _near(moved, box) for box in (truth.box, whole.box(truth.box)))
        if still_at_home and goes:
            moved_along = True
        elif not (stays and whole.agrees(before, shape) and (canvas in (None, shape) or not masks)):
            raise refusal(suffix, 'behind LoadAnnotations moves image and annotations apart')
    return moved_along


def noise(shape: Shape) -> np.ndarray:
    """Return an image of noise, (h, w, 3) uint8, the same at every call."""
    return np.random.RandomState(0).randint(0, 255, (*shape, 3)).astype(np.uint8)


def _box_in(part: Sequence[float]) -> np.ndarray:
    """Return a box of whole pixels in a part of an image, nowhere near its mirror image."""
    x1, y1, x2, y2 = part
    width, height = x2 - x1, y2 - y1
    return np.round([x1 + 0.28 * width, y1 + 0.26 * height, x1 + 0.54 * width, y1 + 0.56 * height])


def _near(moved: np.ndarray, wanted: np.ndarray) -> bool:
    side = max(wanted[2] - wanted[0], wanted[3] - wanted[1])
    return bool((np.abs(moved - wanted) <= max(2.0, 0.05 * side)).all())
