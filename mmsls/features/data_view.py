"""What a sampler must know of the data set that it samples: identity and place of every image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmsls.features.image_frame import ImageFrame, check_shapes
from mmsls.features.leaves import check_unmixed, find_leaves
from mmsls.features.pipeline_geometry import PipelineGeometry
from mmsls.features.records import Record

# What a record and its data sample both tell, where the pipeline passes it on.
_NAMES = ('sample_idx', 'img_id', 'img_path')


class DataView:
    """A data set seen through its wrappers.

    Args:
        dataset: The data set that is scored.
        placed: Whether places in the image matter.
        masks: Whether masks and maps are used, not boxes alone.

    Raises:
        ValueError: If its pipeline mixes images, or moves things in a way that cannot be followed.
    """

    def __init__(self, dataset: Any, placed: bool = True, masks: bool = True) -> None:
        check_unmixed(dataset)
        self.dataset = dataset
        self.leaves = find_leaves(dataset)
        self.geometries = [PipelineGeometry(leaf, masks) for leaf in self.leaves] if placed else []

    def frame(self, metainfo: Mapping[str, Any], record: Record) -> ImageFrame:
        """Return where an image lies in the network's input.

        Raises:
            ValueError: If it cannot be known.
        """
        return self.geometries[record[0]].frame(metainfo, record[1])

    def check_frames(self, metainfo: Mapping[str, Any]) -> list[ImageFrame]:
        """Return the frames that the ground truth of an image may be in, before it is known which record it is."""
        if not all(one.followed for one in self.geometries):
            return [ImageFrame.from_metainfo(metainfo)]
        check_shapes(metainfo)
        names = sorted({'img_shape' if one.in_input else 'ori_shape' for one in self.geometries})
        shapes = [(int(metainfo[name][0]), int(metainfo[name][1])) for name in names]
        return [ImageFrame((1.0, 1.0), shape, shape) for shape in shapes]

    def check_same_record(self, metainfo: Mapping[str, Any], record: Record) -> None:
        """Refuse an image that came in place of the record asked for.

        MMEngine's data sets take another record at random where the pipeline returns None, unless test_mode is set.

        Raises:
            ValueError: If the meta information names another record.
        """
        dataset = self.leaves[record[0]].dataset
        if getattr(dataset, 'test_mode', True) or not hasattr(dataset, 'get_data_info'):
            return
        info = dataset.get_data_info(record[1])
        for name in _NAMES:
            if info.get(name) is not None and metainfo.get(name) is not None:
                if str(info[name]) != str(metainfo[name]):
                    raise ValueError(
                        f'record {record[1]} of data set {record[0]} ({type(dataset).__name__}) has '
                        f'{name}={info[name]!r}, but the image that came has {metainfo[name]!r}: the pipeline gave '
                        'nothing and another record was drawn in its place; set test_mode=True, or mend the record'
                    )
                return
