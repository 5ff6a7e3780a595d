"""Where a pipeline puts an image's ground truth in the input: followed whatever the transforms, or refused by name."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmsls.features.coordinate_probe import AxisMap, Shape, seeded
from mmsls.features.image_frame import ImageFrame, check_shapes, said_frame
from mmsls.features.leaves import Leaf, class_names
from mmsls.features.pipeline_probe import measured, outcomes, truth_moves, with_flip
from mmsls.features.pipeline_runs import copied, flips, from_host, moves, refusal, run
from mmsls.features.probe_truth import TRUTH, without_truth
from mmsls.features.records import same_random_state

SCALING = {'Resize', 'FixScaleResize', 'ResizeShortestEdge', 'Pad'}
AUGMENTS = {'TestTimeAug', 'MultiScaleFlipAug'}
# After so many sizes at which scale_factor told the truth, a pipeline of the hosts' own Resize and Pad is believed.
TRUSTED_SIZES = 8


class PipelineGeometry:
    """What one data set's pipeline does to places.

    Transforms between the image's and the annotations' loading move the image alone, so the ground truth stays in the
    original frame; those behind move both, so it is in the input's. Which of the two holds is tried out with a box in
    place of the first record's ground truth. Transforms that move the image alone are run on an image of coordinates,
    once per image size (once per image, if one is not a toolbox's).

    Args:
        leaf: The data set, with its transforms.
        masks: Whether masks and maps are used, not boxes alone.

    Raises:
        ValueError: If the pipeline moves things in a way that cannot be followed; it names the transform.
    """

    def __init__(self, leaf: Leaf, masks: bool = True) -> None:
        self.leaf, self.masks = leaf, masks
        self.followed, self.in_input = False, False
        self._failure = ''
        self._cache: dict[Any, AxisMap] = {}
        self._agreed = 0
        self._head: list[Any] = []
        self._prefix: list[Any] = []
        self._template: dict[str, Any] = {}
        if leaf.transforms is None or not hasattr(leaf.dataset, 'get_data_info'):
            _say(
                f'the pipeline of {type(leaf.dataset).__name__} cannot be seen; places follow scale_factor of the meta '
                'information'
            )
        elif len(leaf.dataset) and not any(class_names(one) & AUGMENTS for one in leaf.transforms):
            with same_random_state():
                self._study(copied(leaf.transforms))

    def frame(self, metainfo: Mapping[str, Any], number: int) -> ImageFrame:
        """Return where an image lies in the network's input.

        Args:
            metainfo: Meta information of its data sample.
            number: The record's number.

        Raises:
            ValueError: If its pipeline cannot be followed, or meta information is missing.
        """
        if self._failure:
            raise ValueError(f'where the pipeline puts the objects could not be found out: {self._failure}')
        if not self.followed:
            return ImageFrame.from_metainfo(metainfo)
        check_shapes(metainfo)
        height, width = (int(length) for length in metainfo['img_shape'][:2])
        if self.in_input:
            return ImageFrame((1.0, 1.0), (height, width), (height, width))
        said, shape = said_frame(metainfo), (int(metainfo['ori_shape'][0]), int(metainfo['ori_shape'][1]))
        if said is not None and self._trusted():
            return said
        found = self._map(metainfo, shape, number)
        if said is None or not found.agrees(AxisMap(said.scale), shape):
            return ImageFrame(found.scale, shape, (height, width), found.offset)
        self._agreed += 1
        return said

    def _trusted(self) -> bool:
        return self._agreed >= TRUSTED_SIZES and all(
            from_host(one) and class_names(one) & SCALING for one in self._prefix
        )

    def _map(self, metainfo: Mapping[str, Any], shape: Shape, number: int) -> AxisMap:
        """Return the map from the original image to the input, by image size where nothing else can matter."""
        flip = (bool(metainfo['flip']), metainfo.get('flip_direction')) if 'flip' in metainfo else None
        if flip and flip[0] and not any(flips(one) for one in self._prefix):
            raise refusal(
                [one for one in self.leaf.transforms or () if flips(one)],
                'flips image and annotations in different frames',
            )
        known = all(from_host(one) for one in self._prefix)
        key = (shape, flip, None if known else number)
        if key in self._cache:
            return self._cache[key]
        with same_random_state():
            template = self._template if known else self._loaded(number)
            found = measured(with_flip(self._prefix, flip, self._template), template, shape)[0]
        if known:
            self._cache[key] = found
        else:
            self._agreed = 0
        return found

    def _loaded(self, number: int) -> dict[str, Any]:
        """Return what a record's own loaders give, without the image."""
        results = run(self._head, self.leaf.dataset.get_data_info(number))
        return {key: value for key, value in without_truth(results).items() if key != 'img'}

    def _study(self, transforms: list[Any]) -> None:
        """Split the pipeline where image and ground truth are loaded; learn which frame the ground truth ends in."""
        states = self._first_run(transforms)
        image_at = next((at for at, state in enumerate(states) if state.get('img') is not None), None)
        truth_at = next((at for at, state in enumerate(states) if any(name in state for name in TRUTH)), None)
        if image_at is None or np.ndim(states[image_at]['img']) not in (2, 3):
            return
        loaded = states[image_at]
        shape = int(loaded['img'].shape[0]), int(loaded['img'].shape[1])
        if tuple(loaded.get('ori_shape', shape)[:2]) != shape:
            raise refusal([transforms[image_at]], f'gives an image of {shape} with ori_shape={loaded["ori_shape"]}')
        end = len(states) - 1  # the last one packs
        behind = max(image_at, end if truth_at is None else truth_at)
        self.followed = True
        self._template = {key: value for key, value in without_truth(loaded).items() if key != 'img'}
        self._head = transforms[: image_at + 1]
        self._prefix = [
            transforms[at] for at in range(image_at + 1, behind + 1) if at != truth_at and moves(transforms[at])
        ]
        suffix = [one for one in transforms[behind + 1 : end + 1] if moves(one)]
        self._check_steady(shape)
        if truth_at is not None and suffix:
            turned = [(True, 'horizontal'), (True, 'vertical')] if any(flips(one) for one in self._prefix) else []
            for size in self._sizes(shape, [*self._prefix, *suffix]):
                for flip in [(False, None), *turned]:
                    prefix = with_flip(self._prefix, flip, self._template)
                    self.in_input |= truth_moves(prefix, suffix, states[truth_at], size, self.masks)

    def _first_run(self, transforms: Sequence[Any]) -> list[dict[str, Any]]:
        """Return what each transform made of the first record, up to the one that packs; of none if it fails."""
        results = self.leaf.dataset.get_data_info(0)
        states: list[dict[str, Any]] = []
        seeded(0)
        for transform in transforms:
            try:
                results = transform(copy.deepcopy(results))
            except Exception as error:
                # The validation fails the same way and says so better; if it doesn't, nothing is placed.
                self._failure = (
                    f'{type(transform).__name__} fails on the first record of {type(self.leaf.dataset).__name__}: '
                    f'{error!r}'
                )
                _say(self._failure)
                return []
            if not isinstance(results, dict) or (states and states[-1].get('img') is not None and 'img' not in results):
                break
            states.append(results)
        return states

    def _sizes(self, shape: Shape, chain: Sequence[Any]) -> Iterable[Shape]:
        """Sizes to try things at: at one alone a Resize may happen to do nothing."""
        yield shape
        if all(from_host(one) for one in chain):
            yield shape[0] + shape[0] // 3 + 5, shape[1] + shape[1] // 5 + 3

    def _check_steady(self, shape: Shape) -> None:
        """Refuse what draws where it puts the image alone, but for a flip that the meta information tells of."""
        flipping = [one for one in self._prefix if flips(one)]
        if len(flipping) > 1:
            raise refusal(flipping, 'flip more than once, and the meta information tells of the last one')
        chain = with_flip(self._prefix, (False, None), self._template)
        for _, seed in outcomes(chain, self._template, shape):
            for end in range(1, len(chain) + 1):
                one, other = (measured(chain[:end], self._template, shape, drawn) for drawn in (0, seed))
                if one[1] != other[1] or not one[0].agrees(other[0], shape):
                    raise refusal([chain[end - 1]], 'draws where it puts the image')


def _say(text: str) -> None:
    print_log(f'SLS: {text}', 'current', logging.WARNING)
