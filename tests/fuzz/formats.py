"""Every kind of file that mmsls reads: an honest one, how it is damaged, and how it is read."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from mutating import damage_archive, damage_bytes, damage_json, damage_lines, damage_pickle, damage_safetensors
from safetensors.torch import save

from mmsls.backbones.base_files import read_base, sha256_of
from mmsls.backbones.identity import pack as pack_identity
from mmsls.backbones.identity import unpack as unpack_identity
from mmsls.checkpoint import META_KEY, META_VERSION, read_slim
from mmsls.cost.by_depth import DepthCosts
from mmsls.deploy.manifest import MANIFEST, WEIGHTS
from mmsls.deploy.task_folder import read_task, unpack
from mmsls.deploy.task_models import build_task
from mmsls.files.reading import read_json
from mmsls.pruning_index import PruningIndex
from mmsls.vtab.dataset import VTAB1k

SHA = '0' * 64
STATE = {'backbone.layers.0.norm.weight': torch.arange(8.0), 'backbone.patch.weight': torch.ones(4, 3, 2, 2).half()}
STATE |= {'head.count': torch.tensor(5), 'backbone.table': torch.zeros(9, 2)}


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        name: The file's name, in a folder of its own.
        honest: What an undamaged one holds.
        damage: Damages it.
        read: Reads it, given its path, through all that mmsls does with it.
        prepare: Writes what has to lie beside it.
        named: What an error must name; by default the file, or its folder where the fault is of that.
    """

    name: str
    honest: Callable[[], bytes]
    damage: Callable[[bytes, Random], bytes]
    read: Callable[[Path], Any]
    prepare: Callable[[Path], Any] = lambda folder: None
    named: str = ''


def saved(content: Any, legacy: bool = False) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


def index() -> bytes:
    backbone = {'type': 'SwinTransformer', 'embed_dims': 8, 'depths': [2, 2]}
    scores = {(0, 0): 0.1, (0, 1): 0.2, (1, 0): 0.3, (1, 1): 0.5}
    made = PruningIndex.create(
        scores=scores, backbone=backbone, adapter={'type': 'Convpass', 'rank': 4}, base_sha256=SHA
    )
    return made._to_text().encode()


def slim_checkpoint() -> bytes:
    described = {'base_checkpoint': 'x.pth', 'base_sha256': SHA, 'adapter': None, 'depths': [2], 'kept_depths': [2]}
    meta = {
        'dataset_meta': {'classes': ('a', 'b')},
        META_KEY: {'version': META_VERSION, 'backbones': {'backbone': described}},
    }
    return saved({'meta': meta, 'state_dict': STATE, 'message_hub': {'runtime_info': {'eta': 1.5}}})


def own_checkpoint() -> bytes:
    from mmengine.logging import HistoryBuffer

    buffer = HistoryBuffer()
    buffer.update(1.0)
    return saved({'state_dict': STATE, 'message_hub': {'log_scalars': {'loss': buffer}, 'eta': np.float64(1.0)}})


def arrays() -> bytes:
    out = io.BytesIO()
    np.savez(out, **{key.replace('.', '/'): value.numpy() for key, value in STATE.items()})
    return out.getvalue()


def manifest() -> bytes:
    model = {
        'type': 'RetinaNet',
        'backbone': {
            'type': 'PrunedSwinTransformer',
            'base_checkpoint': 'x.pth',
            'adapter': {'type': 'mmsls.Convpass', 'rank': 4},
        },
        'neck': {'type': 'FPN', 'in_channels': [8, 16], 'norm_cfg': {'type': 'BN'}},
        'bbox_head': {
            'type': 'RetinaHead',
            'anchor_generator': {'type': 'AnchorGenerator', 'ratios': {'__tuple__': [0.5, 1.0]}},
        },
        'test_cfg': {'nms': {'type': 'nms', 'iou_threshold': 0.5}, 'map': {'__pairs__': [[0, 1], [2, 3]]}},
    }
    pipeline = [
        {'type': 'LoadImageFromFile'},
        {'type': 'Resize', 'scale': {'__tuple__': [96, 64]}},
        {'type': 'PackDetInputs'},
    ]
    config = {
        'default_scope': 'mmdet',
        'custom_imports': {'imports': ['mmsls.integrations.mmdet'], 'allow_failed_imports': False},
        'model': model,
        'test_pipeline': pipeline,
        'test_dataloader': {'dataset': {'type': 'CocoDataset', 'metainfo': {'classes': ['a']}, 'pipeline': pipeline}},
    }
    backbone = {
        'name': 'backbone',
        'base_checkpoint': 'x.pth',
        'base_sha256': SHA,
        'adapter': None,
        'depths': [2, 2],
        'kept_depths': [2, 1],
    }
    content = {
        'format': 'mmsls-task',
        'version': 1,
        'name': 'task',
        'mmsls': '0.1',
        'backbone': backbone,
        'parameters': {'total': 10, 'trained': 5, 'stored': 5},
        'files': {WEIGHTS: '@sha@'},
        'dataset_meta': {'classes': {'__tuple__': ['a', 'b']}},
        'config': config,
    }
    return json.dumps(content).replace('@sha@', weights_sha()).encode()


def weights_sha() -> str:
    from hashlib import sha256

    return sha256(save(STATE)).hexdigest()


def depth_costs() -> bytes:
    row = {'kept_depths': [2, 1], 'parameters': 10, 'macs': 100, 'seconds': 0.1}
    content = {
        'format': 'mmsls.depth_costs',
        'version': 1,
        'backbone': {'type': 'SwinTransformer', 'embed_dims': 8, 'depths': [2, 2]},
        'machine': 'a machine',
        'threads': 1,
        'image': [64, 96],
        'weights': '',
        'rows': [{**row, 'kept_depths': [2, 2]}, row],
    }
    return json.dumps(content).encode()


def write_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(save(STATE))


def read_folder(path: Path) -> None:
    """Read a task folder and, where it passes, unpack it and read that, running only what `unpack` checked."""
    from mmengine.config import Config

    out = path.parent / 'out'
    for name in ('config.py', 'weights.pth'):
        (out / name).unlink(missing_ok=True)
    read_task(path.parent)
    config, _ = unpack(path.parent, out)
    Config.fromfile(config, import_custom_modules=False)


def buildable() -> bytes:
    """A task whose model is small and needs no base."""
    content = json.loads(manifest())
    swin = {
        'type': 'SwinTransformer',
        'embed_dims': 8,
        'depths': [1, 1],
        'num_heads': [1, 2],
        'strides': [4, 2],
        'out_indices': [0, 1],
    }
    content['config']['model'] |= {'backbone': swin}
    content['config']['model']['neck'] |= {'out_channels': 8, 'num_outs': 2}
    content['config']['model']['bbox_head'] |= {
        'num_classes': 2,
        'in_channels': 8,
        'feat_channels': 8,
        'stacked_convs': 1,
    }
    content['config']['model']['bbox_head']['anchor_generator'] |= {
        'octave_base_scale': 4,
        'scales_per_octave': 1,
        'strides': [4, 8],
    }
    return json.dumps(content).encode()


def build(path: Path) -> None:
    """Build the model with whatever arguments the manifest gives it; the weights beside it fit none."""
    try:
        build_task(read_task(path.parent))
    except ValueError as error:
        if 'does not fit its config' not in str(error):
            raise


def read_weights(path: Path) -> None:
    """Read weights whose hash was forged to fit."""
    content = json.loads(manifest())
    content['files'][WEIGHTS] = sha256_of(path)
    (path.parent / MANIFEST).write_text(json.dumps(content))
    read_task(path.parent).tensors()


def read_honest_hash(path: Path) -> None:
    """Read weights under the hash of the honest ones: whatever is damaged must be refused."""
    (path.parent / MANIFEST).write_bytes(manifest())
    same = path.read_bytes() == save(STATE)
    read_task(path.parent).tensors()
    if not same:
        raise AssertionError('damaged weights were taken for the honest ones')


def write_images(folder: Path) -> None:
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    for number in range(12):
        (folder / f'images/{number}.png').write_bytes(b'x')


def read_list(path: Path) -> None:
    VTAB1k(data_root=str(path.parents[1]), task='svhn', ann_file=path.name, serialize_data=False)


FORMATS = {
    'index': Format('index.json', index, damage_json, PruningIndex.load),
    'depth costs': Format('depth_costs.json', depth_costs, damage_json, DepthCosts.load),
    'manifest': Format(MANIFEST, manifest, damage_json, read_folder, write_weights, 'svhn'),
    'task, built': Format(MANIFEST, buildable, damage_json, build, write_weights, 'task'),
    'task weights': Format(WEIGHTS, lambda: save(STATE), damage_safetensors, read_weights),
    'task weights, hash kept': Format(WEIGHTS, lambda: save(STATE), damage_safetensors, read_honest_hash),
    'slim checkpoint': Format('slim.pth', slim_checkpoint, damage_archive(damage_pickle), read_slim),
    'base': Format(
        'base.pth',
        lambda: saved({'model': STATE}),
        damage_archive(damage_pickle),
        read_base_at := lambda path: read_base(str(path)),
    ),
    'base of MMEngine': Format('epoch_1.pth', own_checkpoint, damage_archive(damage_pickle), read_base_at),
    'base, old format': Format('old.pth', lambda: saved(STATE, legacy=True), damage_pickle, read_base_at),
    'base, safetensors': Format('model.safetensors', lambda: save(STATE), damage_safetensors, read_base_at),
    'base, npz': Format('model.npz', arrays, damage_archive(), read_base_at),
    'VTAB list': Format(
        'train800.txt',
        lambda: '\n'.join(f'images/{n}.png {n % 3}' for n in range(12)).encode(),
        damage_lines,
        read_list,
        write_images,
    ),
    'chain state': Format(
        'chain.json',
        lambda: json.dumps({'format': 1, 'stages': {'tune': {'metric': 0.5}}}).encode(),
        damage_json,
        read_json,
    ),
    'extra state': Format(
        '_extra_state',
        lambda: bytes(pack_identity({'base_sha256': SHA, 'kept_depths': [1], 'adapter': None}).tolist()),
        damage_bytes,
        lambda path: unpack_identity(torch.tensor(list(path.read_bytes()), dtype=torch.uint8)),
    ),
}
