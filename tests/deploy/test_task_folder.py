from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file, save_file
from warm_process import run_script

from mmsls import runs
from mmsls.backbones.base_files import sha256_of
from mmsls.checkpoint import slim
from mmsls.deploy import task_folder
from mmsls.deploy.task_folder import pack, read_task, unpack
from mmsls.deploy.task_models import build_task, with_imports
from mmsls.pruning_index import PruningIndex

ROOT = Path(__file__).resolve().parents[2]
KEPT = (2, 1, 2, 0)
PICTURE = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)


def write_index(path: Path, kept=KEPT, depths=(2, 2, 3, 2), width=8) -> str:
    """An index whose scores make the rule keep `kept`: the walk stops one block below the last that it keeps."""
    order = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]
    last = max((stage, depth - 1) for stage, depth in enumerate(kept) if depth)
    scores = {block: 0.0 if order.index(block) == order.index(last) - 1 else 0.5 for block in order}
    index = PruningIndex.create(
        scores=scores, backbone={'type': 'SwinTransformer', 'embed_dims': width, 'depths': list(depths)}
    )
    index.save(path)
    assert index.kept_depths == kept
    return str(path)


@pytest.fixture(scope='module')
def trained(tmp_path_factory, detector_cfg, randomise):
    """A config with an index and a slim checkpoint of its model, random in what is trained."""
    folder = tmp_path_factory.mktemp('trained')
    index = write_index(folder / 'index.json', kept=(2, 2, 3, 0))
    cfg = detector_cfg(folder, backbone={'pruning_index': index})
    model = randomise(runs.build_model(with_imports(cfg)), only_trainable=True)
    meta = {'dataset_meta': {'classes': tuple('0123456789')}}
    checkpoint = {'meta': meta, 'state_dict': dict(model.state_dict())}
    slim(model, checkpoint)
    torch.save(checkpoint, folder / 'slim.pth')
    return cfg, str(folder / 'slim.pth'), model.eval()


@pytest.fixture(scope='module')
def packed(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp('packed') / 'digits'
    return pack(trained[0], trained[1], folder)


@pytest.fixture
def copied(packed, tmp_path):
    return Path(shutil.copytree(packed.folder, tmp_path / 'copied'))


def boxes(model):
    from mmdet.apis import inference_detector

    return inference_detector(model, PICTURE).pred_instances.bboxes


def expected_boxes(trained):
    cfg, _, model = trained
    model.cfg = cfg
    return boxes(model)


def change_manifest(folder: Path, **changes) -> None:
    path = folder / 'mmsls.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rewrite_weights(folder: Path, tensors) -> None:
    """Replace the weights, and their hash too, as someone who edits them on purpose would."""
    save_file(tensors, folder / 'adapters.safetensors')
    files = json.loads((folder / 'mmsls.json').read_text())['files']
    change_manifest(folder, files={**files, 'adapters.safetensors': sha256_of(folder / 'adapters.safetensors')})


def test_the_folder_holds_the_parts_and_no_base(packed, trained, base_state):
    names = sorted(path.name for path in packed.folder.iterdir())
    assert names == ['README.md', 'adapters.safetensors', 'mmsls.json', 'pruning_index.json']
    stored = load_file(packed.folder / 'adapters.safetensors')
    slim_state = torch.load(trained[1], weights_only=True)['state_dict']
    assert set(stored) == set(slim_state)
    assert all(torch.equal(stored[key], slim_state[key]) for key in stored)
    assert not [key for key in stored if key.removeprefix('backbone.') in base_state]


def test_single_blocks_are_packed_and_opened_as_such(detector_cfg, randomise, tmp_path):
    kept = ((0, 1), (1, 0), (2, 0), (2, 2), (3, 1))
    cfg = detector_cfg(tmp_path, backbone={'kept_blocks': kept})
    model = randomise(runs.build_model(with_imports(cfg)), only_trainable=True).eval()
    checkpoint = {'meta': {}, 'state_dict': dict(model.state_dict())}
    slim(model, checkpoint)
    torch.save(checkpoint, tmp_path / 'slim.pth')
    task = pack(cfg, tmp_path / 'slim.pth', tmp_path / 'task')
    assert task.foundation.kept_blocks == kept
    assert '(0, 1), (1, 0), (2, 0), (2, 2), (3, 1)' in (tmp_path / 'task/README.md').read_text()
    opened = build_task(read_task(tmp_path / 'task')).eval()
    assert opened.backbone.kept_blocks == kept
    image = torch.rand(1, 3, 64, 64)
    assert all(torch.equal(*pair) for pair in zip(opened.backbone(image), model.backbone(image), strict=True))
    config, weights = unpack(tmp_path / 'task', tmp_path / 'out')
    again = runs.build_model(Config.fromfile(config), str(weights))
    assert all(torch.equal(*pair) for pair in zip(again.backbone(image), model.backbone(image), strict=True))
    lowest = write_index(tmp_path / 'index.json', kept=(2, 2, 3, 0))
    with pytest.raises(ValueError, match='kept_depths: the index keeps'):
        pack(cfg, tmp_path / 'slim.pth', tmp_path / 'other', index=lowest)


def test_a_tuned_checkpoint_is_packed_at_the_depths_of_a_pruned_config(trained, detector_cfg, randomise, tmp_path):
    tuned = randomise(runs.build_model(with_imports(detector_cfg(tmp_path))), only_trainable=True)
    checkpoint = {'meta': {}, 'state_dict': dict(tuned.state_dict())}
    slim(tuned, checkpoint)
    torch.save(checkpoint, tmp_path / 'tuned.pth')
    task = pack(trained[0], tmp_path / 'tuned.pth', tmp_path / 'task')
    assert not [key for key in task.tensors() if key.startswith('backbone.stages.3.blocks')]
    assert tuple(build_task(task).backbone.kept_depths) == (2, 2, 3, 0)


def test_the_card_and_the_summary(packed):
    card = (packed.folder / 'README.md').read_text()
    share = 100 * packed.parameters.trained / packed.parameters.total
    assert f'trainable params: {packed.parameters.trained:,} || all params: {packed.parameters.total:,}' in card
    assert f'trainable%: {share:.4f}' in card
    assert packed.backbone['base_sha256'] in card
    assert 'Convpass' in card


def test_a_task_is_read_back_as_it_was(packed, trained):
    task = read_task(packed.folder)
    assert task.name == 'digits'
    assert tuple(task.backbone['kept_depths']) == (2, 2, 3, 0)
    assert task.index.kept_depths == (2, 2, 3, 0)
    assert task.dataset_meta == {'classes': tuple('0123456789')}
    resize = task.config.test_dataloader.dataset.pipeline[1]
    assert resize.scale == (96, 64)
    assert isinstance(resize.scale, tuple)
    assert 'pruning_index' not in task.config.model.backbone
    assert 'train_dataloader' not in task.config


def test_the_manifest_names_its_backbone_as_earlier_releases_do(packed):
    backbone = json.loads((packed.folder / 'mmsls.json').read_text())['backbone']
    adapter = backbone.pop('adapter')
    assert adapter.pop('type') == 'Convpass'
    assert list(backbone) == ['name', 'base_checkpoint', 'base_sha256', 'depths', 'kept_depths']
    assert (backbone['name'], backbone['depths'], backbone['kept_depths']) == ('backbone', [2, 2, 3, 2], [2, 2, 3, 0])


def test_a_copied_folder_gives_the_same_detections(copied, trained):
    model = build_task(read_task(copied))
    assert torch.equal(boxes(model), expected_boxes(trained))


def test_unpacked_files_serve_init_detector(copied, trained, tmp_path):
    from mmdet.apis import init_detector

    config, weights = unpack(copied, tmp_path / 'out')
    model = init_detector(str(config), str(weights), device='cpu')
    assert torch.equal(boxes(model), expected_boxes(trained))
    assert model.dataset_meta['classes'] == tuple('0123456789')
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['config.py', 'weights.pth']
    before = weights.stat().st_mtime_ns
    with pytest.raises(ValueError, match=r'config\.py.* exists'):
        unpack(copied, tmp_path / 'out')
    assert weights.stat().st_mtime_ns == before


def test_the_base_may_lie_elsewhere(copied, base_file, tmp_path):
    moved = shutil.copy(base_file, tmp_path / 'moved.pth')
    model = build_task(read_task(copied), base_checkpoint=str(moved))
    assert model.backbone.base_checkpoint == str(moved)


def test_tied_weights_are_packed(detector_cfg, randomise, tmp_path, monkeypatch):
    """As in heads that share their convolutions between levels (RTMDet)."""
    from mmdet.models.dense_heads import RetinaHead
    from mmdet.registry import MODELS

    class Tied(RetinaHead):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.retina_twin = self.retina_reg

    monkeypatch.setitem(MODELS.module_dict, 'RetinaHead', Tied)
    cfg = detector_cfg(tmp_path, backbone={'adapter': {'type': 'mmsls.Convpass', 'rank': 4}})
    model = randomise(runs.build_model(with_imports(cfg)), only_trainable=True)
    checkpoint = {'meta': {}, 'state_dict': dict(model.state_dict())}
    slim(model, checkpoint)
    torch.save(checkpoint, tmp_path / 'slim.pth')
    tensors = pack(cfg, tmp_path / 'slim.pth', tmp_path / 'task').tensors()
    assert torch.equal(tensors['bbox_head.retina_twin.weight'], tensors['bbox_head.retina_reg.weight'])


def test_home_in_paths(trained, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    cfg, checkpoint, _ = trained
    shutil.copy(checkpoint, tmp_path / 'slim.pth')
    write_index(tmp_path / 'index.json', kept=(2, 2, 3, 0))
    task = pack(cfg, '~/slim.pth', '~/task', index='~/index.json')
    assert (task.folder, task.index.kept_depths) == (tmp_path / 'task', (2, 2, 3, 0))
    assert unpack('~/task', '~/out')[0] == tmp_path / 'out/config.py'


def test_kept_depths_by_hand_need_no_index(detector_cfg, randomise, tmp_path):
    cfg = detector_cfg(tmp_path, backbone={'kept_depths': KEPT})
    model = runs.build_model(with_imports(cfg))
    checkpoint = {'meta': {}, 'state_dict': dict(model.state_dict())}
    slim(model, checkpoint)
    torch.save(checkpoint, tmp_path / 'slim.pth')
    task = pack(cfg, tmp_path / 'slim.pth', tmp_path / 'task', name='by hand')
    assert (task.index, task.name) == (None, 'by hand')
    assert build_task(task).backbone.kept_depths == KEPT


# Bad input.


def test_another_base_is_refused(copied, base_state, tmp_path):
    other = tmp_path / 'other.pth'
    torch.save({'state_dict': {key: value + 1 for key, value in base_state.items()}}, other)
    with pytest.raises(ValueError, match='trained on a base with sha256'):
        build_task(read_task(copied), base_checkpoint=str(other))


@pytest.mark.parametrize('part', ['mmsls.json', 'adapters.safetensors', 'pruning_index.json'])
def test_a_missing_part_is_named(copied, part, tmp_path):
    (copied / part).unlink()
    for read in (read_task, lambda folder: unpack(folder, tmp_path / 'out')):
        with pytest.raises(FileNotFoundError, match=part):
            read(copied)
    assert not (tmp_path / 'out').exists()


def test_a_file_cut_short_is_named(copied):
    path = copied / 'adapters.safetensors'
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r'adapters\.safetensors is not the file'):
        read_task(copied)


def test_what_is_no_safetensors_file_is_refused(copied, tmp_path):
    torch.save({'a': torch.ones(1)}, copied / 'adapters.safetensors')
    files = json.loads((copied / 'mmsls.json').read_text())['files']
    change_manifest(copied, files={**files, 'adapters.safetensors': sha256_of(copied / 'adapters.safetensors')})
    with pytest.raises(ValueError, match='not a safetensors file'):
        unpack(copied, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'key', ['bbox_head.retina_cls.bias', 'backbone.stages.0.blocks.0.adapters.ffn_parallel.up.bias']
)
@pytest.mark.parametrize('fault', ['misshapen', 'missing', 'left over'])
def test_tensors_that_do_not_fit_are_named(copied, key, fault):
    tensors = load_file(copied / 'adapters.safetensors')
    if fault == 'misshapen':
        tensors[key] = torch.ones(3)
    elif fault == 'missing':
        del tensors[key]
    else:
        key = f'{key}_more'
        tensors[key] = torch.ones(3)
    rewrite_weights(copied, tensors)
    with pytest.raises(ValueError, match=key.removeprefix('backbone.')):
        build_task(read_task(copied))


@pytest.mark.parametrize(
    ('changes', 'match'),
    [
        ({'version': 2}, 'version'),
        ({'format': 'zip'}, 'zip'),
        ({'files': {}}, 'adapters.safetensors'),
        ({'files': ['adapters.safetensors']}, 'files is .* wrong type'),
        ({'name': None}, 'name is .None., of a wrong type'),
        ({'parameters': {'total': 1}}, 'field parameters lacks stored, trained'),
        ({'backbone': {'name': 'backbone'}}, 'field backbone lacks .*base_sha256'),
        ({'config': {}}, 'field config lacks model'),
    ],
)
def test_a_manifest_of_another_release_is_refused(copied, changes, match):
    change_manifest(copied, **changes)
    with pytest.raises(ValueError, match=match):
        read_task(copied)


@pytest.mark.parametrize('text', ['{"format": "mmsls', '[]', ''])
def test_a_damaged_manifest_is_refused(copied, text):
    (copied / 'mmsls.json').write_text(text)
    with pytest.raises(ValueError, match=r'mmsls\.json'):
        read_task(copied)


def test_packing_refuses_and_leaves_nothing_behind(trained, packed, tmp_path):
    cfg, checkpoint, model = trained
    full = tmp_path / 'full.pth'
    torch.save({'meta': {}, 'state_dict': model.state_dict()}, full)
    disagreeing = write_index(tmp_path / 'index.json', kept=(2, 2, 1, 0))
    with pytest.raises(ValueError, match='no slim checkpoint'):
        pack(cfg, full, tmp_path / 'task')
    with pytest.raises(ValueError, match=r'kept_depths.*\(2, 2, 1, 0\).*\(2, 2, 3, 0\)'):
        pack(cfg, checkpoint, tmp_path / 'task', index=disagreeing)
    foreign = write_index(tmp_path / 'index.json', kept=(2, 2, 3, 0), width=99)
    with pytest.raises(ValueError, match='embed_dims'):
        pack(cfg, checkpoint, tmp_path / 'task', index=foreign)
    wider = copy.deepcopy(cfg)
    wider.model.neck.out_channels = 4
    with pytest.raises(ValueError, match='does not fit'):
        pack(wider, checkpoint, tmp_path / 'task')
    before = (packed.folder / 'mmsls.json').read_bytes()
    with pytest.raises(ValueError, match='exists'):
        pack(cfg, checkpoint, packed.folder)
    assert (packed.folder / 'mmsls.json').read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ['full.pth', 'index.json']


def test_a_model_without_a_frozen_backbone_is_no_task(detector_cfg, tmp_path):
    cfg = detector_cfg(tmp_path, backbone={'base_checkpoint': None, 'adapter': None})
    model = runs.build_model(with_imports(cfg))
    checkpoint = {'meta': {}, 'state_dict': dict(model.state_dict())}
    slim(model, checkpoint)
    torch.save(checkpoint, tmp_path / 'slim.pth')
    with pytest.raises(ValueError, match='one frozen backbone'):
        pack(cfg, tmp_path / 'slim.pth', tmp_path / 'task')


def test_the_tools(trained, tmp_path):
    cfg, checkpoint, _ = trained
    cfg.dump(tmp_path / 'config.py')

    def run(name, *arguments):
        return run_script(ROOT / 'tools' / name, *arguments)

    done = run('pack.py', tmp_path / 'config.py', checkpoint, tmp_path / 'task', '--name', 'cells')
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'trainable params' in done.stdout
    assert read_task(tmp_path / 'task').name == 'cells'
    again = run('pack.py', tmp_path / 'config.py', checkpoint, tmp_path / 'task')
    assert again.returncode != 0
    assert again.stderr.splitlines()[-1].startswith('error: ')
    done = run('unpack.py', tmp_path / 'task', tmp_path / 'out')
    assert done.returncode == 0, done.stderr[-3000:]
    assert Config.fromfile(tmp_path / 'out/config.py').model.backbone.kept_depths == (2, 2, 3, 0)


def test_the_manifest_is_small_and_runs_no_code(packed):
    text = (packed.folder / task_folder.MANIFEST).read_text()
    assert len(text) < 20_000
    assert json.loads(text)['config']['default_scope'] == 'mmdet'
