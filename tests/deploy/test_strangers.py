"""Task folders of strangers: whatever door they try, nothing of theirs runs, and the refusal names the place."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file, save_file

from mmsls import runs
from mmsls.backbones.base_files import sha256_of
from mmsls.checkpoint import slim
from mmsls.deploy.config_check import checked_config
from mmsls.deploy.literal_config import literal, read_literals, write_literals
from mmsls.deploy.task_config import from_json, inference_config
from mmsls.deploy.task_folder import pack, read_task, unpack
from mmsls.deploy.task_library import TaskLibrary
from mmsls.deploy.task_models import build_task, with_imports

CANARY = 'mmsls_test_canary'
ROOT = Path(__file__).resolve().parents[2]
GONE = object()


@pytest.fixture(scope='module')
def honest(tmp_path_factory, detector_cfg, randomise):
    """A folder as `pack` writes it."""
    folder = tmp_path_factory.mktemp('honest')
    cfg = detector_cfg(folder)
    model = randomise(runs.build_model(with_imports(cfg)), only_trainable=True)
    checkpoint = {'meta': {'dataset_meta': {'classes': tuple('0123456789')}}, 'state_dict': dict(model.state_dict())}
    slim(model, checkpoint)
    torch.save(checkpoint, folder / 'slim.pth')
    return pack(cfg, folder / 'slim.pth', folder / 'task').folder


@pytest.fixture
def folder(honest, tmp_path):
    return Path(shutil.copytree(honest, tmp_path / 'task'))


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """A file that exists once the canary module was imported, or any of its callables called."""
    trace = tmp_path / 'it_ran'
    home = tmp_path / 'path'
    home.mkdir()
    (home / f'{CANARY}.py').write_text(
        f'open({str(trace)!r}, "w").close()\ndef sing(*_, **__): pass\n'
        'class Bird:\n    def __init__(self, *_, **__): pass\n'
    )
    monkeypatch.syspath_prepend(str(home))
    monkeypatch.setenv('PYTHONPATH', f'{home}:{os.environ.get("PYTHONPATH", "")}')
    yield trace
    sys.modules.pop(CANARY, None)


def change(folder, *path, to, manifest=True):
    """Set (or delete) one value of the manifest, its config by default."""
    content = json.loads((folder / 'mmsls.json').read_text())
    place = content
    for part in path[:-1]:
        place = place[part]
    if to is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    (folder / 'mmsls.json').write_text(json.dumps(content))


def doors(folder, out):
    """All ways to open a folder."""
    return {
        'read': lambda: read_task(folder),
        'build': lambda: build_task(read_task(folder)),
        'library': lambda: TaskLibrary().open(folder),
        'unpack': lambda: unpack(folder, out),
    }


def refused(folder, trace, match):
    for name, door in doors(folder, folder.parent / 'out').items():
        with pytest.raises((ValueError, FileNotFoundError), match=match) as caught:
            door()
        assert not trace.exists(), name
        assert len(str(caught.value)) < 1500
    assert not (folder.parent / 'out').exists()


def unpacked(folder):
    """The files, or what was said against them."""
    try:
        return unpack(folder, folder.parent / 'out'), ''
    except ValueError as error:
        return None, str(error)


CODE = f'{CANARY}.sing'
TOUCH = f'__import__("{CANARY}")'
TYPES = (
    'os.system',
    'builtins.exec',
    'subprocess.Popen',
    'builtins.eval',
    CODE,
    f'{CANARY}.Bird',
    CANARY,
    'mmdet.os.system',
)
BACKBONE, NECK, HEAD = (('config', 'model', part) for part in ('backbone', 'neck', 'bbox_head'))
PIPELINE = ('config', 'test_dataloader', 'dataset', 'pipeline')


@pytest.mark.parametrize('name', [*TYPES, 'mmsls.runs.train', 5, None, ['os.system']])
@pytest.mark.parametrize(
    ('place', 'named'),
    [
        (('config', 'model'), r'config\.model\.type'),
        (BACKBONE, r'config\.model\.backbone\.type'),
        ((*BACKBONE, 'adapter'), r'config\.model\.backbone\.adapter\.type'),
        ((*HEAD, 'anchor_generator'), r'config\.model\.bbox_head\.anchor_generator\.type'),
        (('config', 'model', 'test_cfg', 'nms'), r'config\.model\.test_cfg\.nms\.type'),
        ((*PIPELINE, 0), r'config\.test_dataloader\.dataset\.pipeline\[0\]\.type'),
        (('config', 'test_pipeline', 1), r'config\.test_pipeline\[1\]\.type'),
        (('config', 'test_dataloader', 'dataset'), r'config\.test_dataloader\.dataset\.type'),
    ],
)
def test_a_type_that_no_registry_knows(folder, trace, place, named, name):
    change(folder, *place, 'type', to=name)
    with pytest.raises(ValueError, match=named):
        read_task(folder)
    assert not trace.exists()


@pytest.mark.parametrize(
    'nest',
    [
        [{'type': 'FPN', 'extra': [{'deep': {'type': CODE}}]}],
        {'__tuple__': [{'type': CODE}]},
        {'type': 'FPN', 'map': {'__pairs__': [[0, {'type': CODE}]]}},
        {'type': 'FPN', 'conv_cfg': {'type': CANARY}},
        {'type': 'FPN', 'norm_cfg': {'_scope_': CANARY, 'type': 'BN'}},
        {'type': f'{CANARY}.BN'},
        {'type': 'FPN', 'conv_type': CODE},
        {'type': 'FPN', 'padding_mode': CANARY},
        {'type': 'FPN', 'anything': CODE},
        {'type': 'FPN', 'anything': [[CODE]]},
    ],
)
def test_a_type_anywhere(folder, trace, nest):
    change(folder, *NECK, to=nest)
    refused(folder, trace, r'config\.model\.neck')


@pytest.mark.parametrize(
    'step', [{'type': 'Resize', 'resize_type': CANARY}, {'type': 'RandomApply', 'transforms': [{'type': CODE}]}]
)
def test_a_step_of_the_pipeline_that_builds_another(folder, trace, step):
    change(folder, *PIPELINE, 1, to=step)
    refused(folder, trace, r'pipeline\[1\]')


@pytest.mark.parametrize(
    'listed',
    [
        {'imports': [CANARY], 'allow_failed_imports': True},
        {'imports': CANARY},
        {'imports': ['mmsls.integrations.mmdet', CANARY]},
        {'imports': [f'mmsls.integrations.mmdet;import {CANARY}']},
        {'imports': [f'mmsls.integrations..{CANARY}']},
        {'imports': ['mmsls.runs', 'os']},
        {'imports': [f'mmdetection_{CANARY}']},
        {'imports': [['os']]},
        {'imports': {CANARY: 1}},
        {'imports': ['mmsls.integrations.mmdet'], 'package': CANARY},
        [CANARY],
    ],
)
def test_imports_that_are_not_on_the_list(folder, trace, listed):
    change(folder, 'config', 'custom_imports', to=listed)
    refused(folder, trace, r'config\.custom_imports')


@pytest.mark.parametrize('scope', [CANARY, 'os', 5, f'mmdet.{CANARY}'])
def test_a_scope_that_is_none(folder, trace, scope):
    """MMEngine imports `<scope>.registry`."""
    change(folder, 'config', 'default_scope', to=scope)
    refused(folder, trace, r'config\.default_scope')


KEYS = (
    f"': {TOUCH}, '",
    f"x'}}\n{TOUCH}\n#",
    f'"""+{TOUCH}+"""',
    '__class__',
    '_base_',
    '_delete_',
    '{{ fileDirname }}',
    '\ud800',
)


@pytest.mark.parametrize('key', KEYS)
def test_keys_never_become_code(folder, trace, key):
    """What cannot be written as a literal is refused; what can reads back as the very key."""
    change(folder, *HEAD, key, to=1)
    files, said = unpacked(folder)
    assert 'config.model.bbox_head' in said or Config.fromfile(files[0]).model.bbox_head[key] == 1
    assert not trace.exists()


@pytest.mark.parametrize('key', ['model = 1\nimport os\nx', '_base_', 'x y', 'work_dir', 'custom_hooks', 'load_from'])
def test_settings_that_no_task_has(folder, trace, key):
    change(folder, 'config', key, to='x')
    refused(folder, trace, 'config: it holds')


VALUES = (
    f"' + {TOUCH} + '",
    f'"\n{TOUCH}\n"',
    f'\\";{TOUCH}#',
    f'"""{TOUCH}',
    '# -*- coding: rot13 -*-',
    f'\r{TOUCH}',
    '\x00',
    '\u2028x',
)


@pytest.mark.parametrize('text', VALUES)
def test_texts_never_become_code(folder, trace, text):
    change(folder, *PIPELINE, 0, to={'type': 'LoadImageFromFile', 'color_type': text, 'imdecode_backend': "it's"})
    files, said = unpacked(folder)
    if files:
        written = Config.fromfile(files[0]).test_dataloader.dataset.pipeline[0]
        assert (written.color_type, written.imdecode_backend) == (text, "it's")
        assert set(torch.load(files[1], weights_only=True)) == {'meta', 'state_dict'}
    assert files or 'pipeline[0].color_type' in said
    assert not trace.exists()


@pytest.mark.parametrize('text', ["{{'$HOME:x'}}", '{{ fileDirname }}', "{{ $NONE:' + 1 + ' }}", '{{_base_.model}}'])
def test_placeholders_of_the_config_reader(folder, trace, text):
    change(folder, *HEAD, 'name', to=text)
    refused(folder, trace, r'bbox_head\.name is .* a placeholder')


FILES = {
    'teacher_config': 'teacher',
    'teacher_ckpt': 'x',
    'checkpoint': 'https://example.org/x.pth',
    'class_weight': 'weights.pkl',
    'rfstructure_file': 'x',
    'prototype': 'x',
    'name_or_path': 'somebody/model',
    'anything': '/etc/passwd',
    'something': '~/x',
    'else_': 'file.pickle',
    'trust_remote_code': True,
    'warp_mode': TOUCH,
    'dtype': f'float32 or {TOUCH}',
}


@pytest.mark.parametrize('key', FILES)
def test_other_files_and_code_by_argument(folder, trace, key):
    change(folder, *HEAD, key, to=FILES[key])
    refused(folder, trace, rf'config\.model\.bbox_head\.{key} is ')


@pytest.mark.parametrize(
    'arguments',
    [
        {'backend': 'memcached', 'server_list_cfg': 'x'},
        {'backend': 'local', 'sys_path': 'x'},
        {'decode_backend': 'pickle'},
    ],
)
def test_ways_to_read_images_that_run_code(folder, trace, arguments):
    change(folder, *PIPELINE, 0, to={'type': 'LoadImageFromFile', 'backend_args': arguments})
    refused(folder, trace, r'pipeline\[0\]\.backend_args')


def test_weights_from_elsewhere_are_dropped_with_a_word(folder, trace, monkeypatch):
    said = []
    monkeypatch.setattr('mmsls.deploy.config_check.print_log', lambda text, *_: said.append(text))
    evil = folder.parent / 'evil.pth'
    evil.write_bytes(b'x')
    change(folder, *BACKBONE, 'init_cfg', to={'type': 'Pretrained', 'checkpoint': str(evil)})
    change(folder, *HEAD, 'pretrained', to=str(evil))
    task = read_task(folder)
    assert 'config.model.backbone.init_cfg, config.model.bbox_head.pretrained dropped' in said[0]
    assert 'init_cfg' not in task.config.model.backbone
    assert str(evil) not in str(task.config)
    config, _ = unpack(folder, folder.parent / 'out')
    assert 'evil' not in config.read_text()


@pytest.mark.parametrize(
    'loader', [{'dataset': {'type': 'CocoDataset', 'ann_file': 'x.pkl'}}, {'batch_size': 2, 'dataset': {}}, [], 'x']
)
def test_a_data_set_is_described_not_named(folder, trace, loader):
    change(folder, 'config', 'test_dataloader', to=loader)
    refused(folder, trace, r'config\.test_dataloader')


@pytest.mark.parametrize(
    ('metainfo', 'named'),
    [
        ({'classes': 'http://example.org/classes.txt'}, r'\.classes'),
        ({'palette': '/dev/zero'}, r'\.palette'),
        ({'palette': 'random', 'classes': 'classes.txt'}, r'\.classes'),
        ('/etc/passwd', ''),
        (['cell'], ''),
    ],
)
def test_class_names_are_read_from_no_file(folder, trace, metainfo, named):
    """MMEngine's data sets open what a text in `metainfo` names, and the hosts' inference builds the data set."""
    change(folder, 'config', 'test_dataloader', 'dataset', 'metainfo', to=metainfo)
    refused(folder, trace, rf'config\.test_dataloader\.dataset\.metainfo{named}')


def test_names_of_classes_may_look_like_paths(folder):
    metainfo = {'classes': ['n/a', 'a.py', '~'], 'palette': 'random'}
    change(folder, 'config', 'test_dataloader', 'dataset', 'metainfo', to=metainfo)
    assert read_task(folder).config.test_dataloader.dataset.metainfo.to_dict() == metainfo


def test_metainfo_elsewhere_is_no_hiding_place(folder, trace):
    change(folder, *HEAD, 'metainfo', to={'type': CODE})
    refused(folder, trace, r'config\.model\.bbox_head\.metainfo\.type')


def test_packing_writes_out_a_file_of_class_names():
    cfg = {'model': {}, 'val_dataloader': {'dataset': {'pipeline': [], 'metainfo': {'classes': 'names.txt', 'x': 'y'}}}}
    found = inference_config(Config(cfg), {'classes': ['cell', 'nucleus'], 'palette': []})
    assert found['test_dataloader']['dataset']['metainfo'] == {'classes': ['cell', 'nucleus'], 'x': 'y'}


# Files and links.


@pytest.mark.parametrize(
    'name', ['../out.txt', '/etc/passwd', 'sub/x', '..', 'adapters.safetensors/../../x', 'README.md\x00']
)
def test_files_elsewhere(folder, trace, name):
    (folder.parent / 'out.txt').write_text('x')
    change(folder, 'files', name, to='0' * 64)
    refused(folder, trace, 'files names')


@pytest.mark.parametrize('part', ['adapters.safetensors', 'mmsls.json'])
def test_links_that_leave_the_folder(folder, trace, part):
    shutil.move(folder / part, folder.parent / part)
    (folder / part).symlink_to(folder.parent / part)
    refused(folder, trace, f'{part} is a link to .* outside')


def test_links_that_go_nowhere_or_round(folder, trace):
    (folder / 'adapters.safetensors').unlink()
    (folder / 'adapters.safetensors').symlink_to('adapters.safetensors')
    refused(folder, trace, 'adapters.safetensors')
    (folder / 'adapters.safetensors').unlink()
    os.mkfifo(folder / 'adapters.safetensors')
    refused(folder, trace, 'adapters.safetensors is missing')


def test_a_folder_reached_by_a_link_is_fine(folder):
    (folder.parent / 'link').symlink_to(folder)
    assert read_task(folder.parent / 'link').name == 'task'


class Evil:
    def __reduce__(self):
        return (__import__, (CANARY,))


def test_pickled_weights_by_another_name(folder, trace):
    torch.save({'a': Evil()}, folder / 'adapters.safetensors')
    change(folder, 'files', 'adapters.safetensors', to=sha256_of(folder / 'adapters.safetensors'))
    for door in list(doors(folder, folder.parent / 'out').values())[1:]:
        with pytest.raises(ValueError, match='not a safetensors file'):
            door()
    assert not trace.exists()


def test_a_base_that_is_a_pickle(folder, trace):
    torch.save({'state_dict': {'a': Evil()}}, folder.parent / 'base.pth')
    change(folder, *BACKBONE, 'base_checkpoint', to=str(folder.parent / 'base.pth'))
    with pytest.raises(ValueError, match='base_checkpoint'):
        build_task(read_task(folder))
    assert not trace.exists()


@pytest.mark.parametrize('name', ['../backbone', '', 'bbox_head', '__class__', 'backbone.__init__'])
def test_the_name_of_the_backbone_is_only_looked_up(folder, trace, name):
    change(folder, 'backbone', 'name', to=name)
    with pytest.raises(ValueError, match=r'config: model\.|does not fit|does not build|no frozen backbone'):
        build_task(read_task(folder), base_checkpoint='x')
    assert not trace.exists()


def test_an_extra_state_that_is_none(folder, trace):
    tensors = load_file(folder / 'adapters.safetensors')
    key = next(key for key in tensors if key.endswith('_extra_state'))
    save_file({**tensors, key: torch.tensor([1.5, float('nan')])}, folder / 'adapters.safetensors')
    change(folder, 'files', 'adapters.safetensors', to=sha256_of(folder / 'adapters.safetensors'))
    with pytest.raises(ValueError, match='_extra_state'):
        build_task(read_task(folder))


@pytest.mark.parametrize(
    'text',
    [
        '[' * 100_000,
        '{"a":' * 100_000,
        '9' * 10_000,
        '{"format": NaN}',
        '\ufeff{}',
        '{"format": "mmsls-task", "version": 1e999}',
    ],
)
def test_a_manifest_that_is_no_manifest(folder, trace, text):
    (folder / 'mmsls.json').write_text(text)
    refused(folder, trace, r'mmsls\.json')


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        (('parameters', 'more'), 1),
        (('parameters', 'total'), -1),
        (('backbone', 'depths'), []),
        (('backbone', 'kept_depths'), [10**30]),
        (('backbone', 'base_sha256'), '../x'),
        (('files', 'adapters.safetensors'), None),
        (('dataset_meta', 'classes'), {'__tuple__': 5}),
        (('dataset_meta', 'classes'), {'__pairs__': [[[], 1]]}),
        (('dataset_meta', 'classes'), {'__pairs__': [1]}),
        (('dataset_meta',), {'__tuple__': []}),
        (('config', 'model', 'bbox_head', 'deep'), eval('[' * 90 + ']' * 90)),
        (('config', 'model', 'bbox_head', 'huge'), 1e999),
    ],
)
def test_values_that_no_task_has(folder, trace, path, value):
    change(folder, *path, to=value)
    refused(folder, trace, 'task')


# What is one's own, or trusted.


def test_a_trusted_module_is_imported_and_built_from(folder, trace):
    change(folder, 'config', 'custom_imports', 'imports', to=['mmsls.integrations.mmdet', CANARY])
    change(folder, *HEAD, 'loss_cls', to={'type': f'{CANARY}.Bird'})
    with pytest.raises(ValueError, match=rf"trusted=\('{CANARY}',\) \(--trust {CANARY}\)"):
        read_task(folder)
    assert not trace.exists()
    task = read_task(folder, trusted=(CANARY,))
    assert trace.exists()
    assert task.config.model.bbox_head.loss_cls.type == f'{CANARY}.Bird'


def test_the_tool_says_how_to_trust(folder, trace):
    change(folder, 'config', 'custom_imports', 'imports', to=['mmsls.integrations.mmdet', CANARY])
    command = [sys.executable, str(ROOT / 'tools/unpack.py'), str(folder), str(folder.parent / 'out')]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f'--trust {CANARY}' in done.stderr.splitlines()[-1]
    assert not trace.exists()
    done = subprocess.run([*command, '--trust', CANARY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert trace.exists()


def test_packing_ones_own_modules_warns_and_packs(trace, detector_cfg, randomise, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mmsls.deploy.task_folder.print_log', lambda text, *_: said.append(text))
    cfg = detector_cfg(tmp_path)
    cfg.custom_imports.imports = ['mmsls.integrations.mmdet', CANARY]
    model = runs.build_model(with_imports(cfg))
    checkpoint = {'meta': {}, 'state_dict': dict(model.state_dict())}
    slim(model, checkpoint)
    torch.save(checkpoint, tmp_path / 'slim.pth')
    task = pack(cfg, tmp_path / 'slim.pth', tmp_path / 'task')
    assert task.trusted == (CANARY,)
    assert f"trusted=('{CANARY}',)" in said[0]
    with pytest.raises(ValueError, match='trusted'):
        read_task(task.folder)
    cfg.model.test_cfg.class_weight = 'weights.pkl'
    with pytest.raises(ValueError, match=r'class_weight'):
        pack(cfg, tmp_path / 'slim.pth', tmp_path / 'again')
    assert not (tmp_path / 'again').exists()


def test_paths_of_registered_classes_become_their_names():
    """As new-style configs hold them."""
    config = {
        'default_scope': 'mmdet',
        'model': {
            'type': 'mmdet.models.detectors.retinanet.RetinaNet',
            'neck': {'type': 'mmdet.models.FPN', 'act_cfg': {'type': 'torch.nn.modules.activation.ReLU'}},
            'backbone': {'type': 'mmpretrain.VisionTransformer', 'adapter': {'type': 'mmsls.Convpass'}},
            'test_cfg': {'nms': {'type': 'mmcv.ops.nms.soft_nms'}},
        },
        'test_pipeline': [{'type': 'mmcv.transforms.loading.LoadImageFromFile'}],
    }
    found = checked_config(config)
    model = found['model']
    assert (model['type'], model['neck']['type'], model['neck']['act_cfg']['type']) == (
        'mmdet.RetinaNet',
        'mmdet.FPN',
        'ReLU',
    )
    assert (model['backbone']['type'], model['test_cfg']['nms']['type']) == ('mmpretrain.VisionTransformer', 'soft_nms')
    assert found['test_pipeline'][0]['type'] == 'LoadImageFromFile'


@pytest.mark.parametrize(
    'name',
    [
        'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_amp-ms-crop-3x_coco.py',
        'mmdet::mask2former/mask2former_swin-t-p4-w7-224_8xb2-lsj-50e_coco.py',
        'mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py',
        'mmpretrain::swin_transformer/swin-base_16xb64_in1k.py',
        'mmpretrain::vision_transformer/vit-base-p16_64xb64_in1k.py',
    ],
)
def test_stock_configs_pass(name):
    host, path = name.split('::')
    package = __import__(host)
    file = Path(package.__file__).parent / '.mim/configs' / path
    if not file.exists():
        pytest.skip(f'{name} does not come with this {host}')
    config = inference_config(Config.fromfile(file))
    assert checked_config(config)['model']['type'] == config['model']['type']


# What is written.


def test_literals_read_back(tmp_path):
    data = {
        'model': {"a'b": [1, (2.5, None)], 0: {'x"\n': ()}, 'long': ['y' * 60] * 3, 'e': {}},
        'test_pipeline': [True, -3, 1e-9],
    }
    write_literals(data, tmp_path / 'config.py')
    text = (tmp_path / 'config.py').read_text()
    assert read_literals(text) == data
    assert Config.fromfile(tmp_path / 'config.py').to_dict() == data
    assert all(isinstance(node, ast.Assign) for node in ast.parse(text).body)


@pytest.mark.parametrize('value', [float('inf'), float('nan'), {1, 2}, Path('x'), object])
def test_what_is_no_literal_is_not_written(tmp_path, value):
    with pytest.raises(ValueError, match='config'):
        write_literals({'model': [value]}, tmp_path / 'config.py')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'text', ['x = y', 'import os', 'x: int = 1', 'x = y = 1', 'x.a = 1', 'x = f"{1}"', 'x = (lambda: 1)()']
)
def test_only_assignments_of_literals_are_read(text):
    with pytest.raises(ValueError, match='line 1'):
        read_literals(text)


def test_single_literals():
    assert [literal(value) for value in ((1,), (), [], {}, 'a"b')] == ['(1,)', '()', '[]', '{}', "'a\"b'"]


@pytest.mark.parametrize('value', [{'__tuple__': {}}, {'__pairs__': 3}, {'__pairs__': [[1, 2, 3]]}])
def test_marks_that_mark_nothing(value):
    with pytest.raises(ValueError, match='holds'):
        from_json(value)
