"""The host's own data and judge, for criteria that try a model out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Subset

from mmsls.features.half_samples import Computed, Parts, parts_of, watching
from mmsls.features.splits import split_dataloader

PREFERRED = ('bbox_mAP', 'mAP', 'mIoU', 'accuracy/top1')


@dataclass(frozen=True)
class Trial:
    """What a config says of images to fit on, images to judge by, and how to judge.

    Attributes:
        cfg: The config.
        split: Whose images judge, `'val'` or `'test'`.
        on_batch: Called with (batches done, batches in all).
    """

    cfg: Config
    split: str = 'val'
    on_batch: Callable[[int, int], None] | None = None

    def __post_init__(self) -> None:
        if self.cfg.get(f'{self.split}_evaluator') is None or self.cfg.get(f'{self.split}_dataloader') is None:
            raise ValueError(
                f"criterion: it judges by the host's evaluator, and the config has no {self.split}_evaluator or "
                f'{self.split}_dataloader; add them, or score another split (val or test)'
            )

    def training(self, images: int) -> DataLoader:
        """Return a loader of at most so many training images, with the test transform; see `training_images`."""
        return training_images(self.cfg, images)

    def validation(self) -> DataLoader:
        """Return the host's loader of the images that judge."""
        init_default_scope(self.cfg.get('default_scope', 'mmengine'))
        return Runner.build_dataloader(deepcopy(self.cfg[f'{self.split}_dataloader']), seed=0)

    def judge(self, loader: DataLoader) -> Judge:
        """Return a new judge for one pass over the images of `validation`."""
        return Judge(self.cfg[f'{self.split}_evaluator'], loader.dataset)

    def on_parts(self, judges: Sequence[Judge], rounds: int, seed: int = 0) -> Parts | str:
        """Judge again on random halves of the images, the same for every judge. Call it on every rank.

        Args:
            judges: After their `points`.
            rounds: Most halves.
            seed: Of the drawing.

        Returns:
            What they say, or why they cannot; the same in every process.
        """
        try:
            return parts_of(judges, judges[0].size, rounds, seed, self.on_batch)
        except Exception as error:  # the curve is there, and a foreign metric may stumble over anything
            return f'{error}'


class Judge:
    """The host's evaluator, read in points.

    Args:
        evaluator: Its config.
        dataset: The images that it judges by.
    """

    def __init__(self, evaluator: Any, dataset: Any) -> None:
        self.evaluator, self.size = built_evaluator(evaluator, dataset), len(dataset)
        self.classes = len((self.evaluator.dataset_meta or {}).get('classes') or ())
        self.seen, self.name = 0, ''
        self.computed: Computed | str = 'nothing was computed yet'

    def process(self, outputs: Sequence[Any], batch: Any) -> None:
        """Take what a model made of a batch."""
        self.evaluator.process(data_samples=outputs, data_batch=batch)
        self.seen += len(outputs)

    def points(self) -> tuple[str, float]:
        """Return the name of the metric that the host reports first, and its value in percent. Call it on every rank.

        Raises:
            ValueError: If the evaluator gives no number.
        """
        counts = {id(metric): len(metric.results) for metric in self.evaluator.metrics}
        with watching(self.evaluator.metrics) as computed:
            found = {key: value for key, value in self.evaluator.evaluate(self.size).items() if is_number(value)}
        metrics = {key: float(value) for key, value in found.items() if np.isfinite(value)}
        name = headline(metrics)
        if name is None:
            raise ValueError('criterion: the evaluator gives no finite number; are there any images and labels?')
        self.name = name
        self.computed = next((one for one in computed if name in one.names), f'{name} is of no metric of its own')
        if isinstance(self.computed, Computed) and counts[id(self.computed.metric)] != self.seen:
            kept = counts[id(self.computed.metric)]
            self.computed = f'{type(self.computed.metric).__name__} keeps {kept} results of {self.seen} images'
        return name, self._in_points(metrics[name])

    def on(self, images: Sequence[int]) -> float:
        """Return the same metric on some of the images, in percent. Call it after `points`, in the main process.

        Args:
            images: Their numbers, in the data set's order.

        Raises:
            ValueError: If what the metric computes from is not one result per image.
        """
        if not isinstance(self.computed, Computed):
            raise ValueError(f'{self.computed}, so it cannot be computed on some of the images')
        return self._in_points(self.computed.on(images, self.name))

    @property
    def chance(self) -> float:
        """Points that guessing reaches, once `points` was asked for: of accuracy a share of the classes, else 0."""
        accuracy = self.name.rpartition('/')[2].startswith('top1')
        return 100 / self.classes if accuracy and self.classes else 0.0

    def _in_points(self, value: float) -> float:
        return value * (100 if is_share(self.name) else 1)


def headline(metrics: Mapping[str, float]) -> str | None:
    """Choose the metric that the hosts report first.

    Example:
        >>> headline({'coco/bbox_mAP': 0.4, 'coco/bbox_mAP_50': 0.6})
        'coco/bbox_mAP'
    """
    for wanted in PREFERRED:
        for key in metrics:
            if key == wanted or key.endswith(f'/{wanted}'):
                return key
    return next(iter(metrics), None)


def is_share(name: str) -> bool:
    """Whether the hosts give a metric as a share of 1 and not in percent: average precision and recall of detectors.

    Example:
        >>> is_share('coco/bbox_mAP'), is_share('mIoU'), is_share('accuracy/top1')
        (True, False, False)
    """
    return name.rpartition('/')[2].startswith(('mAP', 'bbox_mAP', 'segm_mAP', 'AP', 'AR'))


def is_number(value: Any) -> bool:
    """Whether a metric is a single number; mmseg's are numpy's float32."""
    return isinstance(value, Real) and not isinstance(value, bool)


def built_evaluator(evaluator: Any, dataset: Any) -> Evaluator:
    """Return a host's evaluator of a data set.

    Args:
        evaluator: Its config, a list of metrics or one, inside an `Evaluator` or not.
        dataset: The data set, whose class names it needs.
    """
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        evaluator = evaluator['metrics']
    built = Evaluator(deepcopy(evaluator))
    built.dataset_meta = getattr(dataset, 'metainfo', None)
    return built


def training_images(cfg: Config, images: int) -> DataLoader:
    """Return a loader of at most so many training images, drawn evenly at random from all, with the test transform.

    Raises:
        ValueError: If the number is below 1, or the config has no training images.
    """
    if images < 1:
        raise ValueError(f'images is {images}; it must be at least 1')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    loader_cfg = split_dataloader(cfg, 'train')
    loader = Runner.build_dataloader(loader_cfg, seed=0)
    if len(loader.dataset) <= images:
        return loader
    drawn = np.random.default_rng(0).choice(len(loader.dataset), images, replace=False)
    loader_cfg['dataset'] = Subset(loader.dataset, sorted(drawn.tolist()))
    return Runner.build_dataloader(loader_cfg, seed=0)
