"""A bounded, class-balanced store of samples that many processes can fill together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from mmengine.dist import all_gather_object, get_rank, get_world_size

from mmsls.features.keys import Key
from mmsls.features.sample_draw import draw_keys
from mmsls.features.samplers import Sample
from mmsls.scoring import BlockId

Features = dict[BlockId, np.ndarray]

# Trimming sorts the whole bank; letting it run over by a quarter makes that rare.
_SLACK = 1.25


class FeatureBank:
    """Keep at most `max_samples` samples, equally many per class, chosen by data and seed alone.

    Of every class the q samples with the smallest seeded hash of their key stay, q being the largest number with
    sum_c min(n_c, q) <= max_samples over the n_c distinct samples of class c. Up to `max_samples` nothing is dropped,
    and a key that comes again (distributed samplers pad with duplicates) counts once.

    Neither order, batch size nor the number of processes matters, although the bank trims as it goes. Fewer keys never
    give a lower q, so every level used on the way is at least the final one and drops no key of the final choice. Keys
    dropped on the way can make a later level come out too high, but then some class was cut to exactly the right one
    before; hence the lowest level ever used is remembered and never exceeded.

    Args:
        max_samples: Number of samples kept in the end; a quarter more may be held in between.
        seed: Seed of the draw; it matters only above `max_samples`.

    Raises:
        ValueError: If `max_samples` is not positive.
    """

    def __init__(self, max_samples: int = 2000, seed: int = 0) -> None:
        if isinstance(max_samples, bool) or not isinstance(max_samples, int) or max_samples < 1:
            raise ValueError(f'max_samples={max_samples!r} must be a whole number of at least 1; 2000 is usual')
        self.max_samples = max_samples
        self.seed = seed
        self._entries: dict[int, dict[Key, Features]] = {}
        self._size = 0
        self._level: int | None = None

    def __len__(self) -> int:
        return self._size

    def add(self, samples: Iterable[Sample]) -> None:
        """Put samples in; of a key that is already there the first stays.

        Raises:
            ValueError: If there turn out to be more classes than `max_samples`.
        """
        for sample in samples:
            self._insert(sample.label, sample.key, sample.features)
            if self._size > _SLACK * self.max_samples:
                self._trim()

    def gather(self) -> None:
        """Merge the banks of all processes; each then holds what one process would have kept. Call it on every rank.

        Keys travel first, and of the features only those that stay, each once: traffic and memory are bounded by
        `max_samples`, not by that times the number of processes.

        Raises:
            ValueError: As `add`, on every rank.
        """
        if get_world_size() == 1:
            self._trim()
            return
        listings = all_gather_object((self._level, self._keys()))
        owners: dict[int, dict[Key, int]] = {}
        for rank, (_, keys) in enumerate(listings):
            for label, members in keys.items():
                for key in members:
                    owners.setdefault(label, {}).setdefault(key, rank)
        levels = [level for level, _ in listings if level is not None]
        kept, self._level = draw_keys(owners, budget=self.max_samples, seed=self.seed, cap=min(levels, default=None))
        mine = [(label, key) for label in kept for key in kept[label] if owners[label][key] == get_rank()]
        shares = all_gather_object([(label, key, self._entries[label][key]) for label, key in mine])
        self._entries, self._size = {}, 0
        for share in shares:
            for label, key, features in share:
                self._insert(label, key, features)

    def to_arrays(self) -> tuple[Features, np.ndarray, list[Key]]:
        """Return the samples as arrays, one row per sample, ordered by data set, record and instance.

        Returns:
            Features per block, (n, C) C-contiguous float32; labels, (n,) int64; keys of the rows.

        Raises:
            ValueError: If the bank is empty, or samples differ in their blocks.
        """
        self._trim()
        if not self._size:
            raise ValueError(
                'the feature bank is empty: no labelled sample was seen; the data set that was run has no ground truth '
                '(a test set without annotations, or images without objects): score a split that is annotated'
            )
        rows = [(key, label, features) for label, members in self._entries.items() for key, features in members.items()]
        rows.sort(key=lambda row: row[:2])
        blocks = _common_blocks([row[2] for row in rows])
        features = {block: np.stack([row[2][block] for row in rows]) for block in blocks}
        labels = np.array([row[1] for row in rows], dtype=np.int64)
        return features, labels, [row[0] for row in rows]

    def _insert(self, label: int, key: Key, features: Mapping[BlockId, np.ndarray]) -> None:
        members = self._entries.setdefault(int(label), {})
        if key in members:
            return
        # A copy, since a row that is a view would keep the features of its whole image in memory.
        members[key] = {block: np.array(row, dtype=np.float32) for block, row in features.items()}
        self._size += 1

    def _keys(self) -> dict[int, list[Key]]:
        return {label: list(members) for label, members in self._entries.items()}

    def _trim(self) -> None:
        kept, self._level = draw_keys(self._keys(), budget=self.max_samples, seed=self.seed, cap=self._level)
        self._entries = {label: {key: self._entries[label][key] for key in keys} for label, keys in kept.items()}
        self._size = sum(len(members) for members in self._entries.values())


def _common_blocks(rows: list[Features]) -> list[BlockId]:
    blocks = sorted(rows[0])
    for row in rows:
        if sorted(row) != blocks:
            raise ValueError(f'samples differ in their blocks: {blocks} and {sorted(row)}; use one bank per backbone')
    return blocks
