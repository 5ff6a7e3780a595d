from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from warm_process import run_script

from mmsls import runs
from mmsls.checkpoint import slim
from mmsls.deploy import merging
from mmsls.deploy.exported_config import forget_training, remap_heads
from mmsls.deploy.merging import export, merge_backbone
from mmsls.deploy.task_models import with_imports

ROOT = Path(__file__).resolve().parents[2]
PICTURE = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
REPADAPTER = {'type': 'mmsls.RepAdapter', 'rank': 4}
CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4}
EMPTIED = (2, 1, 3, 0)
LORA = {'type': 'mmsls.LoRA', 'rank': 4, 'targets': ('q', 'v', 'proj', 'fc1', 'fc2')}
DETECTORS = {
    'merged': {'adapter': REPADAPTER},
    'emptied': {'adapter': REPADAPTER, 'kept_depths': EMPTIED},
    'low rank': {'adapter': LORA, 'kept_depths': (1, 2, 3, 1)},
    'biases': {'adapter': {'type': 'mmsls.BitFit', 'stages': (1, 2)}, 'kept_depths': EMPTIED},
    'single blocks, shifted as before': {
        'adapter': REPADAPTER,
        'kept_blocks': ((0, 0), (1, 0), (1, 1), (2, 2), (3, 0)),
    },
    'no adapter': {'adapter': None, 'kept_depths': (2, 2, 1, 1)},
}
SEG_VIT = {
    'img_size': 64,
    'patch_size': 8,
    'patch_bias': True,
    'embed_dims': 16,
    'num_layers': 4,
    'num_heads': 2,
    'mlp_ratio': 2,
    'final_norm': True,
}
CLS_VIT = {
    'arch': {'embed_dims': 16, 'num_layers': 4, 'num_heads': 2, 'feedforward_channels': 32},
    'img_size': 64,
    'patch_size': 8,
    'out_type': 'featmap',
}
CLS_SWIN = {
    'arch': {'embed_dims': 8, 'depths': (2, 2, 3, 2), 'num_heads': (1, 2, 2, 4)},
    'window_size': 4,
    'img_size': 64,
    'pad_small_map': True,
}
OTHERS = {
    'vit segmentor': (
        'mmseg',
        'VisionTransformer',
        SEG_VIT,
        {'adapter': LORA, 'kept_depths': 3, 'out_indices': (0, 3)},
    ),
    'vit segmentor, a block twice': (
        'mmseg',
        'VisionTransformer',
        SEG_VIT,
        {'adapter': REPADAPTER, 'kept_depths': 2, 'out_indices': (0, 2, 3)},
    ),
    'vit classifier': ('mmpretrain', 'VisionTransformer', CLS_VIT, {'adapter': REPADAPTER, 'kept_depths': 2}),
    'vit classifier, single blocks': (
        'mmpretrain',
        'VisionTransformer',
        CLS_VIT,
        {'adapter': REPADAPTER, 'kept_blocks': ((0, 0), (0, 3))},
    ),
    'swin classifier': (
        'mmpretrain',
        'SwinTransformer',
        CLS_SWIN,
        {'adapter': {'type': 'SSF'}, 'kept_depths': EMPTIED},
    ),
}
WITHOUT_MMSLS = """
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'mmsls':
            raise ImportError('mmsls is not installed here')

for name in [name for name in sys.modules if name.split('.')[0] == 'mmsls']:
    del sys.modules[name]  # mmsls.pth imports it at the start of Python
sys.meta_path[:] = [Blocked(), *(one for one in sys.meta_path if not type(one).__module__.startswith('mmsls'))]
sys.path = [entry for entry in sys.path if entry]
try:
    import mmsls
except ImportError:
    pass
else:
    raise SystemExit('mmsls can be imported')
import numpy
picture = numpy.load(sys.argv[1])
outputs = {}
for name, host, folder in json.loads(sys.argv[2]):
    files = f'{folder}/config.py', f'{folder}/model.pth'
    if host == 'mmdet':
        from mmdet.apis import inference_detector, init_detector
        found = inference_detector(init_detector(*files, device='cpu'), picture).pred_instances.scores
    elif host == 'mmseg':
        from mmseg.apis import inference_model, init_model
        found = inference_model(init_model(*files, device='cpu'), picture).seg_logits.data
    else:
        import torch
        from mmpretrain.apis import get_model
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None, :, :64, :64].float() / 255
        found = get_model(files[0], pretrained=files[1], device='cpu')(pixels, mode='tensor')
    outputs[name] = found.flatten().tolist()
print(json.dumps(outputs))
"""


@pytest.fixture(autouse=True)
def untried(request, monkeypatch):
    """Trying an export in a process of its own takes seconds: tests that are not about it leave it out."""
    if 'tried' not in request.fixturenames:
        monkeypatch.setattr(merging, 'why_not_alone', lambda *_: '')


@pytest.fixture(scope='module')
def slimmed(tmp_path_factory, randomise):
    """A function that gives a config, a slim checkpoint and its model, random in what is trained."""

    def run(cfg):
        folder = tmp_path_factory.mktemp('trained')
        model = randomise(runs.build_model(with_imports(cfg)), only_trainable=True)
        checkpoint = {
            'meta': {'dataset_meta': {'classes': tuple('0123456789')}},
            'state_dict': dict(model.state_dict()),
        }
        slim(model, checkpoint)
        torch.save(checkpoint, folder / 'slim.pth')
        model.cfg = cfg
        return cfg, folder / 'slim.pth', model.eval()

    return run


@pytest.fixture(scope='module')
def trained(tmp_path_factory, detector_cfg, slimmed):
    """The same for a detector with the given backbone arguments."""

    def run(**backbone):
        hooks = [{'type': 'mmsls.SlimCheckpointHook'}]
        return slimmed(detector_cfg(tmp_path_factory.mktemp('run'), backbone=backbone, hooks=hooks))

    return run


def base_of(toolbox: str, type_: str, tiny, path: Path, randomise) -> str:
    """Save a random backbone of a host as a base, output norms included."""
    stock = getattr(import_module(f'{toolbox}.models.backbones'), type_)(**tiny)
    torch.save(randomise(stock).state_dict(), path)
    return str(path)


def model_cfg(toolbox: str, backbone, width: int) -> Config:
    """A small model of mmseg or mmpretrain around a backbone whose last output has `width` channels."""
    head = {'type': 'FCNHead', 'in_channels': width, 'channels': 8, 'num_convs': 1, 'num_classes': 10, 'in_index': -1}
    segmentor = {
        'type': 'EncoderDecoder',
        'data_preprocessor': {'type': 'SegDataPreProcessor', 'size': (64, 96), 'mean': [0] * 3, 'std': [255] * 3},
        'decode_head': {**head, 'norm_cfg': {'type': 'BN'}, 'align_corners': False},
        'test_cfg': {'mode': 'whole'},
    }
    classifier = {
        'type': 'ImageClassifier',
        'neck': {'type': 'GlobalAveragePooling'},
        'head': {'type': 'LinearClsHead', 'num_classes': 10, 'in_channels': width},
    }
    return Config(
        {
            'default_scope': toolbox,
            'custom_imports': {'imports': [f'mmsls.integrations.{toolbox}'], 'allow_failed_imports': False},
            'model': {**(segmentor if toolbox == 'mmseg' else classifier), 'backbone': backbone},
            'test_pipeline': [
                {'type': 'LoadImageFromFile'},
                {'type': f'Pack{"Seg" if toolbox == "mmseg" else ""}Inputs'},
            ],
        }
    )


def logits(model):
    from mmseg.apis import inference_model

    return inference_model(model, PICTURE).seg_logits.data


def class_scores(model):
    pixels = torch.from_numpy(PICTURE).permute(2, 0, 1)[None, :, :64, :64].float() / 255
    with torch.no_grad():
        return model(pixels, mode='tensor')


def scores(model):
    from mmdet.apis import inference_detector

    return inference_detector(model, PICTURE).pred_instances.scores


@pytest.fixture(scope='module')
def without_mmsls(trained, slimmed, randomise, tmp_path_factory):
    """What exported models compute in a process where mmsls cannot be imported, and what ours computed."""
    folder = tmp_path_factory.mktemp('exported')
    cases, expected = [], {}
    for name, backbone in DETECTORS.items():
        cfg, checkpoint, model = trained(**backbone)
        expected[name] = scores(model)
        cases.append((name, 'mmdet', cfg, checkpoint))
    for name, (toolbox, type_, tiny, backbone) in OTHERS.items():
        base = base_of(toolbox, type_, tiny, folder / f'{name}.pth', randomise)
        arguments = {'type': f'Pruned{type_}', **tiny, 'base_checkpoint': base, **backbone}
        cfg, checkpoint, model = slimmed(model_cfg(toolbox, arguments, 64 if 'Swin' in type_ else 16))
        expected[name] = (logits if toolbox == 'mmseg' else class_scores)(model)
        cases.append((name, toolbox, cfg, checkpoint))
    with pytest.MonkeyPatch.context() as patch:  # all at once below
        patch.setattr(merging, 'why_not_alone', lambda *_: '')
        for name, _, cfg, checkpoint in cases:
            assert export(cfg, checkpoint, folder / name).stock
    cases = [(name, host, str(folder / name)) for name, host, *_ in cases]
    expected = {name: value.flatten().tolist() for name, value in expected.items()}
    np.save(folder / 'picture.npy', PICTURE)
    done = subprocess.run(
        [sys.executable, '-c', WITHOUT_MMSLS, folder / 'picture.npy', json.dumps(cases)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), expected


@pytest.mark.parametrize('name', [*DETECTORS, *OTHERS])
def test_an_exported_model_runs_where_mmsls_is_not_installed(without_mmsls, name):
    found, expected = without_mmsls
    assert expected[name]
    np.testing.assert_allclose(found[name], expected[name], atol=1e-4)


def test_the_exported_config_names_the_hosts_own_backbone(trained, tmp_path):
    cfg, checkpoint, _ = trained(adapter=REPADAPTER, kept_depths=EMPTIED)
    before = copy.deepcopy(cfg.to_dict())
    done = export(cfg, checkpoint, tmp_path / 'out')
    assert cfg.to_dict() == before
    text = done.config.read_text()
    assert 'mmsls' not in text
    exported = Config.fromfile(done.config)
    assert exported.model.backbone.type == 'SwinTransformer'
    assert exported.model.backbone.depths == list(EMPTIED)
    assert exported.test_dataloader == cfg.test_dataloader
    content = torch.load(done.checkpoint, weights_only=True)
    assert not [key for key in content['state_dict'] if 'adapters' in key or 'extra_state' in key]
    assert content['meta']['mmsls_merged']['base_sha256']
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['config.py', 'model.pth']


def test_imports_may_be_one_name():
    plain = {'custom_imports': {'imports': 'mmsls.integrations.mmdet'}, 'custom_hooks': [{'type': 'mmsls.SLSHook'}]}
    forget_training(plain, stock=True)
    assert plain == {'custom_hooks': []}


def test_our_data_sets_become_the_hosts():
    from mmsls.vtab import VTAB1k  # noqa: F401 (registered)

    dataset = {'type': 'mmsls.VTAB1k', 'data_root': 'data', 'task': 'svhn', 'ann_file': 'test.txt', 'test_mode': True}
    plain = {'test_dataloader': {'dataset': dataset}, 'val_dataloader': None}
    forget_training(plain, stock=True)
    assert plain['test_dataloader']['dataset']['type'] == 'CustomDataset'
    assert 'mmsls' not in str(plain)


def test_merging_in_memory_changes_nothing_but_the_form(trained):
    _, _, model = trained(adapter=REPADAPTER)
    before = scores(model)
    merge_backbone(model.backbone)
    torch.testing.assert_close(scores(model), before, atol=1e-5, rtol=0)
    assert 'backbone._extra_state' not in model.state_dict()
    with pytest.raises(ValueError, match='merged before'):
        merge_backbone(model.backbone)


def test_what_does_not_merge_is_refused_unchanged(trained):
    _, _, model = trained(adapter=CONVPASS)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match='Convpass cannot be merged'):
        merge_backbone(model.backbone)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


# Bad input.


def test_merging_twice_is_refused(trained, tmp_path):
    cfg, checkpoint, _ = trained(adapter=REPADAPTER)
    done = export(cfg, checkpoint, tmp_path / 'out')
    for config in (cfg, Config.fromfile(done.config)):
        with pytest.raises(ValueError, match='merged before'):
            export(config, done.checkpoint, tmp_path / 'again')
    with pytest.raises(ValueError, match='exists'):
        export(cfg, checkpoint, tmp_path / 'out')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['out']


def test_a_full_checkpoint_and_a_wrong_config_are_refused(trained, tmp_path):
    cfg, checkpoint, model = trained(adapter=REPADAPTER)
    torch.save({'meta': {}, 'state_dict': model.state_dict()}, tmp_path / 'full.pth')
    with pytest.raises(ValueError, match='no slim checkpoint'):
        export(cfg, tmp_path / 'full.pth', tmp_path / 'out')
    wrong = copy.deepcopy(cfg)
    wrong.model.bbox_head.num_classes = 3
    with pytest.raises(ValueError, match='does not fit its config'):
        export(wrong, checkpoint, tmp_path / 'out')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['full.pth']


def test_nothing_is_left_of_an_export_that_fails_half_way(trained, tmp_path, monkeypatch):
    cfg, checkpoint, _ = trained(adapter=REPADAPTER)
    save = torch.save

    def fail(content, path):
        save(content, path)
        raise OSError('disk full')

    monkeypatch.setattr(merging.torch, 'save', fail)
    with pytest.raises(OSError, match='disk full'):
        export(cfg, checkpoint, tmp_path / 'out')
    assert list(tmp_path.iterdir()) == []


def test_the_tool(trained, tmp_path):
    cfg, checkpoint, _ = trained(adapter=REPADAPTER)
    cfg.dump(tmp_path / 'config.py')
    done = run_script(ROOT / 'tools/merge.py', tmp_path / 'config.py', checkpoint, tmp_path / 'out')
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'needs no mmsls' in done.stdout
    assert (tmp_path / 'out/model.pth').exists()


# What does not merge.


def test_an_adapter_that_does_not_merge_needs_mmsls_and_no_base_file(trained, tmp_path):
    from mmdet.apis import init_detector

    cfg, checkpoint, model = trained(adapter=CONVPASS, kept_depths=EMPTIED)
    done = export(cfg, checkpoint, tmp_path / 'out')
    assert (done.stock, done.reason) == (False, 'Convpass cannot be merged into the base: it is not linear')
    text = done.config.read_text()
    assert 'mmsls.integrations.mmdet' in text
    assert 'tiny_swin' not in text
    alone = init_detector(str(done.config), str(done.checkpoint), device='cpu')
    assert torch.equal(scores(alone), scores(model))
    assert alone.backbone.base_sha256 == model.backbone.base_sha256
    assert not alone.backbone.stages[0].blocks[0].attn.w_msa.qkv.weight.requires_grad


def test_a_base_that_is_only_named_is_never_random(trained, tmp_path):
    """Without its weights the model neither runs nor loads a slim checkpoint; after the full one it does both."""
    cfg, checkpoint, model = trained(adapter=CONVPASS)
    done = export(cfg, checkpoint, tmp_path / 'out')
    alone = runs.build_model(Config.fromfile(done.config))
    alone.cfg = cfg
    slim_state = torch.load(checkpoint, weights_only=True)['state_dict']
    with pytest.raises(RuntimeError, match='load the full checkpoint'):
        scores(alone)
    with pytest.raises(ValueError, match='does not hold the base'):
        alone.load_state_dict(slim_state)
    with pytest.raises(RuntimeError, match='load the full checkpoint'):
        scores(alone)
    alone.load_state_dict(torch.load(done.checkpoint, weights_only=True)['state_dict'])
    assert torch.equal(scores(copy.deepcopy(alone)), scores(model))
    alone.load_state_dict(slim_state)
    assert torch.equal(scores(alone), scores(model))


def test_heads_take_an_output_twice_where_the_host_gives_it_once():
    model = {'decode_head': {'in_index': [0, 1, 2, 3]}, 'auxiliary_head': [{'in_index': 2}, {'type': 'FCNHead'}]}
    remap_heads(model, (2, 5, 6, 6))
    assert model['decode_head']['in_index'] == [0, 1, 2, 2]
    assert [head['in_index'] for head in model['auxiliary_head']] == [2, 2]


def test_a_block_twice_into_a_neck_needs_mmsls_and_is_merged(slimmed, randomise, tmp_path):
    base = base_of('mmseg', 'VisionTransformer', SEG_VIT, tmp_path / 'base.pth', randomise)
    backbone = {'type': 'PrunedVisionTransformer', **SEG_VIT, 'base_checkpoint': base, 'adapter': REPADAPTER}
    cfg = model_cfg('mmseg', {**backbone, 'kept_depths': 1, 'out_indices': (1, 2)}, 16)
    cfg.model.neck = {'type': 'MultiLevelNeck', 'in_channels': [16, 16], 'out_channels': 16, 'scales': [1, 1]}
    cfg, checkpoint, model = slimmed(cfg)
    done = export(cfg, checkpoint, tmp_path / 'out')
    assert not done.stock
    assert 'out_indices became' in done.reason
    exported = Config.fromfile(done.config)
    assert 'adapter' not in exported.model.backbone
    assert 'base_checkpoint' not in exported.model.backbone
    alone = runs.build_model(exported, str(done.checkpoint))
    alone.cfg = cfg
    assert not [key for key in alone.state_dict() if 'adapters' in key]
    torch.testing.assert_close(logits(alone), logits(model), atol=1e-5, rtol=1e-5)


# Trying it without mmsls.


@pytest.mark.parametrize('tried', [True])
def test_what_needs_mmsls_all_the_same_is_found_by_trying(trained, tmp_path, monkeypatch, tried):
    """A module of one's own that imports mmsls: the config names it and not mmsls."""
    from mmdet.apis import init_detector

    (tmp_path / 'mmsls_test_user.py').write_text('import mmsls\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg, checkpoint, model = trained(adapter=REPADAPTER)
    alone = export(cfg, checkpoint, tmp_path / 'alone')
    assert (alone.stock, alone.reason) == (True, '')
    cfg = copy.deepcopy(cfg)
    cfg.custom_imports.imports = ['mmsls.integrations.mmdet', 'mmsls_test_user']
    done = export(cfg, checkpoint, tmp_path / 'out')
    assert not done.stock
    assert 'without mmsls it does not load' in done.reason
    assert 'mmsls is not there' in done.reason
    torch.testing.assert_close(
        scores(init_detector(str(done.config), str(done.checkpoint), device='cpu')), scores(model)
    )


@pytest.mark.parametrize(
    'spelling', ['mmdet.PrunedSwinTransformer', 'mmsls.integrations.mmdet.PrunedSwinTransformer', 'class']
)
def test_however_the_backbone_is_named(trained, tmp_path, spelling):
    from mmsls.integrations.mmdet import PrunedSwinTransformer

    cfg, checkpoint, _ = trained(adapter=REPADAPTER)
    cfg = copy.deepcopy(cfg)
    cfg.model.backbone.type = PrunedSwinTransformer if spelling == 'class' else spelling
    cfg.custom_hooks = [
        {'type': name} for name in ('SLSHook', 'mmsls.hooks.SLSHook', 'mmsls.SlimCheckpointHook', 'EMAHook')
    ]
    done = export(cfg, checkpoint, tmp_path / 'out')
    exported = Config.fromfile(done.config)
    assert done.stock
    assert exported.model.backbone.type == 'mmdet.SwinTransformer'
    assert [hook.type for hook in exported.custom_hooks] == ['EMAHook']
    assert 'mmsls' not in done.config.read_text()


@pytest.mark.parametrize('adapter', [REPADAPTER, CONVPASS])
def test_bridges_need_mmsls_and_come_along(trained, tmp_path, adapter):
    from mmdet.apis import init_detector

    cfg, checkpoint, model = trained(adapter=adapter, kept_depths=(2, 1, 1, 0), bridge=True)
    done = export(cfg, checkpoint, tmp_path / 'out')
    assert not done.stock
    assert 'bridges stand in for its removed blocks' in done.reason or 'cannot be merged' in done.reason
    exported = Config.fromfile(done.config)
    assert exported.model.backbone.bridge is True
    assert all(bridge.bridge.weight.any() for bridge in model.backbone.bridges().values())
    alone = init_detector(str(done.config), str(done.checkpoint), device='cpu')
    torch.testing.assert_close(scores(alone), scores(model))


@pytest.mark.parametrize('adapter', [REPADAPTER, CONVPASS])
def test_blocks_whose_windows_the_host_would_shift_otherwise_need_mmsls(trained, tmp_path, adapter):
    from mmdet.apis import init_detector

    kept = ((0, 1), (1, 0), (2, 0), (2, 2), (3, 1))
    cfg, checkpoint, model = trained(adapter=adapter, kept_blocks=kept)
    done = export(cfg, checkpoint, tmp_path / 'out')
    assert not done.stock
    assert 'block (0, 1) has another place now' in done.reason or 'cannot be merged' in done.reason
    alone = init_detector(str(done.config), str(done.checkpoint), device='cpu')
    assert alone.backbone.kept_blocks == kept
    torch.testing.assert_close(scores(alone), scores(model))


def test_a_part_that_names_mmsls_keeps_it_and_says_where(trained, tmp_path):
    cfg, checkpoint, _ = trained(adapter=REPADAPTER)
    cfg = copy.deepcopy(cfg)
    cfg.visualizer = {'type': 'mmsls.Painter'}
    done = export(cfg, checkpoint, tmp_path / 'out')
    assert (done.stock, done.reason) == (False, 'config.visualizer.type still names mmsls')


def test_our_data_sets_become_the_hosts_inside_wrappers():
    inner = {'type': 'mmsls.vtab.dataset.VTAB1k', 'data_root': 'data', 'task': 'svhn', 'ann_file': 'test.txt'}
    plain = {'test_dataloader': {'dataset': {'type': 'RepeatDataset', 'times': 2, 'dataset': inner}}}
    forget_training(plain, stock=True)
    assert plain['test_dataloader']['dataset']['dataset']['type'] == 'CustomDataset'


# Numbers.


def built(host, randomise, tmp_path, adapter):
    torch.save(host.base_of(randomise(host.stock())), tmp_path / 'base.pth')
    model = host.pruned(base_checkpoint=str(tmp_path / 'base.pth'), adapter=adapter)
    return randomise(model, seed=1, only_trainable=True).eval()


@pytest.mark.parametrize('adapter', [REPADAPTER, LORA, {'type': 'SSF'}, {'type': 'BitFit'}], ids=lambda a: a['type'])
@pytest.mark.parametrize('host', ['mmdet_host', 'mmseg_vit_host'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_merges(request, host, adapter, randomise, tmp_path, dtype):
    model = built(request.getfixturevalue(host), randomise, tmp_path, adapter)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wide = [out.clone() for out in model(image)]
        model.to(dtype)
        unmerged = model(image.to(dtype))
        merge_backbone(model)
        merged = model(image.to(dtype))
    assert all(parameter.dtype == dtype for parameter in model.parameters())
    for exact, before, after in zip(wide, unmerged, merged, strict=True):
        lost = (before.float() - exact).abs().max()
        assert (after.float() - exact).abs().max() <= 3 * lost + 1e-3


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('adapter', [REPADAPTER, LORA, {'type': 'SSF'}], ids=lambda a: a['type'])
def test_adapters_that_are_no_numbers_are_refused_by_name(mmdet_host, randomise, tmp_path, adapter, value):
    model = built(mmdet_host, randomise, tmp_path, adapter)
    name, parameter = [(n, p) for n, p in model.named_parameters() if 'stages.1.blocks.1.adapters' in n][-1]
    with torch.no_grad():
        parameter.view(-1)[0] = value
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=re.escape(name)):
        merge_backbone(model)
    assert all(torch.equal(value.nan_to_num(), before[key].nan_to_num()) for key, value in model.state_dict().items())


def test_a_result_that_half_precision_cannot_hold_is_refused_whole(mmdet_host, randomise, tmp_path):
    model = built(mmdet_host, randomise, tmp_path, {'type': 'SSF'}).half()
    block = model.stages[1].blocks[1]
    with torch.no_grad():
        block.adapters['ffn_fc1'].gamma.fill_(6e4)
        block.ffn.layers[0][0]._parameters['weight'].fill_(6e4)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        ValueError, match=r"stage 1, block 1, adapter at 'ffn_fc1': folded in, weight of Linear holds NaN or inf"
    ):
        merge_backbone(model)
    assert set(model.state_dict()) == set(before)


def test_an_export_with_nan_outside_the_backbone_is_refused(trained, tmp_path):
    cfg, checkpoint, _ = trained(adapter=REPADAPTER)
    content = torch.load(checkpoint, weights_only=True)
    content['state_dict']['bbox_head.retina_cls.bias'][0] = float('nan')
    torch.save(content, tmp_path / 'nan.pth')
    with pytest.raises(ValueError, match=r'nan\.pth: bbox_head\.retina_cls\.bias hold NaN'):
        export(cfg, tmp_path / 'nan.pth', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
