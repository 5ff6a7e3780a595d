"""What scoring runs leave, made up: an index, and whatever is asked for beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsls.cost.by_depth import NAME, DepthCost, DepthCosts
from mmsls.features.maps import Maps
from mmsls.pruning_index import PruningIndex
from mmsls.scoring import Curve, Rule

ABOUT = {'samples': 600, 'classes': 3, 'split': 'val', 'dataset': 'CocoDataset(val.json)'}
STEP = (-0.1, 0.0, 0.1, 0.4, 0.5, 0.5)


@pytest.fixture
def index_of() -> Callable[..., PruningIndex]:
    """A function that makes an index of some values, all in one stage unless `depths` says otherwise."""

    def run(
        values: Any = STEP,
        depths: Any = None,
        unit: str = 'silhouette',
        criterion: str = 'SLS',
        about: dict[str, Any] | None = None,
        **rule: Any,
    ) -> PruningIndex:
        depths = depths or (len(values),)
        blocks = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]
        return PruningIndex.create(
            scores=Curve(dict(zip(blocks, values, strict=True)), unit),
            backbone={'type': 'PrunedSwinTransformer', 'embed_dims': 96, 'depths': list(depths)},
            adapter={'type': 'mmsls.Convpass', 'rank': 8},
            criterion={'type': criterion},
            provenance={
                'samples': 600,
                'classes': 3,
                'split': 'val',
                'dataset': 'CocoDataset(val.json)',
                **(about or {}),
            },
            rule=Rule(**rule),
        )

    return run


@pytest.fixture
def maps_of() -> Callable[..., Maps]:
    """A function that makes maps for the blocks of an index: classes gather towards the top."""

    def run(index: PruningIndex, samples: int = 60, names: Any = ('cat', 'dog', 'cow')) -> Maps:
        rng, labels = np.random.default_rng(0), np.arange(samples) % len(names)
        centres, blocks = rng.random((len(names), 2)), list(index.scores)
        planes = {
            block: np.clip((1 - share) * rng.random((samples, 2)) + share * centres[labels], 0, 1).astype(np.float16)
            for block, share in zip(blocks, np.linspace(0, 0.9, len(blocks)), strict=True)
        }
        return Maps(planes, labels, dict(enumerate(names)))

    return run


@pytest.fixture
def leave(tmp_path: Path, index_of: Callable, maps_of: Callable) -> Callable[..., Path]:
    """A function that fills a work directory as a scoring run does, and returns it."""

    def run(
        name: str = 'run',
        index: PruningIndex | None = None,
        maps: Maps | None = None,
        with_maps: bool = True,
        rows: list | None = None,
        costs: bool = False,
    ) -> Path:
        folder = tmp_path / name
        index = index or index_of()
        index.save(folder / 'pruning_index.json')
        if with_maps:
            (maps or maps_of(index)).save(folder / 'maps.npz', index)
        if rows is not None:
            (folder / 'results.json').write_text(json.dumps(rows))
        if costs:
            depths = index.backbone['depths']
            kept = (
                [tuple(depths), *((n,) for n in range(depths[0] - 1, 0, -1))] if len(depths) == 1 else [tuple(depths)]
            )
            measured = tuple(DepthCost(d, 10**6 * sum(d), 10**8 * sum(d), 0.01 * sum(d)) for d in kept)
            DepthCosts(index.backbone, 'a machine', 1, (64, 96), 'epoch_1.pth', measured).save(folder / NAME)
        return folder

    return run
