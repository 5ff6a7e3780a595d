from __future__ import annotations

import copy
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from safetensors.torch import load_file

from mmsls import runs
from mmsls.checkpoint import slim
from mmsls.deploy.merging import merge_backbone
from mmsls.deploy.task_folder import pack, read_task
from mmsls.deploy.task_library import SharedBase, TaskLibrary
from mmsls.deploy.task_models import build_task, with_imports

ADAPTERS = {
    'full': {'adapter': {'type': 'mmsls.Convpass', 'rank': 4}},
    'pruned': {'adapter': {'type': 'mmsls.Convpass', 'rank': 2}, 'kept_depths': (2, 1, 2, 0)},
    'merging': {'adapter': {'type': 'mmsls.RepAdapter', 'rank': 4}, 'kept_depths': (1, 1, 3, 1)},
    'plain': {'adapter': None},
}
GENERATOR = np.random.default_rng(0)
PICTURES = [GENERATOR.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(3)]


@pytest.fixture(scope='module')
def folders(tmp_path_factory, detector_cfg, randomise):
    """Task folders on one base: other adapters, depths and numbers of classes."""
    out = {}
    for seed, (name, backbone) in enumerate(ADAPTERS.items()):
        folder = tmp_path_factory.mktemp(name)
        cfg = detector_cfg(folder, backbone=backbone)
        cfg.model.bbox_head.num_classes = 3 + seed
        model = randomise(runs.build_model(with_imports(cfg)), seed=seed, only_trainable=True)
        meta = {'dataset_meta': {'classes': tuple(map(str, range(3 + seed)))}}
        checkpoint = {'meta': meta, 'state_dict': dict(model.state_dict())}
        slim(model, checkpoint)
        torch.save(checkpoint, folder / 'slim.pth')
        out[name] = pack(cfg, folder / 'slim.pth', folder / name).folder
    return out


@pytest.fixture
def library(folders):
    library = TaskLibrary()
    for folder in folders.values():
        library.open(folder)
    return library


def boxes(model, picture=PICTURES[0]):
    from mmdet.apis import inference_detector

    return inference_detector(model, picture).pred_instances.bboxes


def base_bytes(base_state):
    return sum(tensor.numel() * tensor.element_size() for tensor in base_state.values())


@pytest.mark.parametrize('name', ADAPTERS)
def test_a_task_of_the_library_is_the_task_alone(library, folders, name):
    alone = build_task(read_task(folders[name]))
    assert torch.equal(boxes(library[name]), boxes(alone))
    assert library[name].backbone.kept_depths == alone.backbone.kept_depths
    assert len(library[name].dataset_meta['classes']) == 3 + list(ADAPTERS).index(name)
    assert all(torch.equal(value, alone.state_dict()[key]) for key, value in library[name].state_dict().items())


def test_switching_back_and_forth_changes_nothing(library):
    first = {name: boxes(library[name]) for name in library}
    for name in reversed(library.names):
        assert torch.equal(boxes(library[name]), first[name])


def test_the_base_is_in_memory_once(library, folders, base_state):
    memory = library.memory()
    assert memory.base >= base_bytes(base_state)
    for name, folder in folders.items():
        tensors = load_file(folder / 'adapters.safetensors')
        stored = sum(tensor.nbytes for key, tensor in tensors.items() if not key.endswith('_extra_state'))
        # Besides: mean and std of the data preprocessor, which no state dict holds.
        assert stored <= memory.tasks[name] < stored + 100
    tables = {library[name].backbone.stages[0].blocks[0].attn.w_msa.qkv.weight.data_ptr() for name in library}
    assert len(tables) == 1


def blocks_of(library):
    return {name: library[name].backbone.stages[0].blocks[0] for name in library}


def test_models_share_memory_and_nothing_else(library):
    """Layers were shared once: `.half()` on one task then broke the others."""
    blocks = blocks_of(library)
    weights = {name: block.attn.w_msa.qkv._parameters['weight'] for name, block in blocks.items()}
    assert len({id(weight) for weight in weights.values()}) == len(library)
    assert len({weight.data_ptr() for weight in weights.values()}) == 1
    modules = [id(module) for name in library for module in library[name].modules()]
    assert len(set(modules)) == len(modules)


CHANGES = {
    'half': lambda model: model.half(),
    'half of a part': lambda model: model.backbone.stages[0].blocks[0].attn.half(),
    'to': lambda model: model.to(torch.float64),
    'bfloat16': lambda model: model.backbone.to(dtype=torch.bfloat16),
    'requires_grad_': lambda model: model.requires_grad_(True),
    'train': lambda model: model.train(),
    'zeros': lambda model: torch.nn.Module.load_state_dict(
        model.backbone.stages[0], {k: v * 0 for k, v in model.backbone.stages[0].state_dict().items()}
    ),
    'assign': lambda model: torch.nn.Module.load_state_dict(
        model.neck, {k: v * 0 for k, v in model.neck.state_dict().items()}, assign=True
    ),
    'merge': lambda model: merge_backbone(model.backbone),
    'meta': lambda model: model.to_empty(device='meta'),
}


@pytest.mark.parametrize('changed', ['full', 'merging'])
@pytest.mark.parametrize('change', CHANGES)
def test_what_changes_one_task_changes_no_other(library, change, changed):
    """`full` was opened first: the shared memory is the one that it brought along."""
    if change == 'merge' and changed == 'full':
        pytest.skip('Convpass does not merge')
    others = [name for name in library if name != changed]
    before = {name: boxes(library[name]) for name in others}
    learns = {name: [parameter.requires_grad for parameter in library[name].parameters()] for name in others}
    CHANGES[change](library[changed])
    for name in others:
        assert torch.equal(boxes(library[name]), before[name])
        assert all(p.dtype == torch.float32 for p in library[name].parameters())
        assert [parameter.requires_grad for parameter in library[name].parameters()] == learns[name]
        assert not library[name].training


def test_half_and_back(library, folders):
    """Half precision and float again, while others open and compute."""
    exact = {name: boxes(library[name]) for name in library}
    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(boxes, library[name]) for name in ('pruned', 'merging', 'plain') * 4]
        library['full'].half()
        again = pool.submit(library.open, folders['full'], 'again')
        results = [future.result() for future in others]
    assert all(
        torch.equal(found, exact[name]) for found, name in zip(results, ('pruned', 'merging', 'plain') * 4, strict=True)
    )
    assert torch.equal(boxes(again.result()), exact['full'])
    assert library['full'].backbone.patch_embed.projection.weight.dtype == torch.float16
    library['full'].float()
    assert boxes(library['full']).isfinite().all()
    assert library.memory().tasks['full'] > library.memory().tasks['again']
    library.close('full')
    assert torch.equal(boxes(library.open(folders['full'])), exact['full'])


def test_loading_what_it_holds_takes_no_memory(library):
    before = library.memory()
    library['full'].load_state_dict(library['full'].state_dict())
    assert library.memory() == before


def test_a_copy_of_a_task_is_its_own(library):
    copied = copy.deepcopy(library['full'])
    expected = boxes(library['full'])
    assert torch.equal(boxes(copied), expected)
    with torch.no_grad():
        copied.backbone.patch_embed.projection.weight.zero_()
    assert torch.equal(boxes(library['full']), expected)


def test_a_deeper_task_may_come_later(folders):
    library = TaskLibrary()
    library.open(folders['pruned'])
    shallow = library.memory().base
    library.open(folders['full'])
    assert library.memory().base > shallow
    assert torch.equal(boxes(library['full']), boxes(build_task(read_task(folders['full']))))


def test_threads_get_what_one_thread_gets(library):
    jobs = [(name, picture) for _ in range(3) for picture in range(len(PICTURES)) for name in library]
    expected = {(name, picture): boxes(library[name], PICTURES[picture]) for name, picture in jobs}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda job: boxes(library[job[0]], PICTURES[job[1]]), jobs))
    assert all(torch.equal(result, expected[job]) for job, result in zip(jobs, found, strict=True))


def test_one_model_serves_threads_with_images_of_different_sizes(mmseg_vit_host, randomise, tmp_path):
    """A ViT's blocks learn the token grid from the model, which must not mix up two forward passes."""
    torch.save(mmseg_vit_host.base_of(randomise(mmseg_vit_host.stock())), tmp_path / 'base.pth')
    adapter = {'type': 'mmsls.Convpass', 'rank': 4}
    model = mmseg_vit_host.pruned(base_checkpoint=str(tmp_path / 'base.pth'), adapter=adapter)
    model = randomise(model, seed=1, only_trainable=True).eval()
    both_inside = Barrier(2, timeout=60)

    def meet(*_):
        both_inside.wait()

    handle = model.layers[0].register_forward_pre_hook(meet)

    def last(size):
        with torch.no_grad():
            return model(torch.ones(1, 3, *size))[-1]

    sizes = [(64, 96), (96, 64)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(last, sizes))
    handle.remove()
    assert all(torch.equal(result, last(size)) for result, size in zip(found, sizes, strict=True))


def test_tasks_of_two_toolboxes_share_a_base(library, base_file, randomise, tmp_path):
    """The hosts' Swins have the same keys; layers that two hosts make differently stay apart, their tensors do not."""
    from mmseg.apis import inference_model

    before, detections = library.memory(), boxes(library['full'])
    swin = {
        key: library['full'].cfg.model.backbone[key] for key in ('embed_dims', 'depths', 'num_heads', 'window_size')
    }
    backbone = {'type': 'PrunedSwinTransformer', **swin, 'base_checkpoint': base_file, 'adapter': {'type': 'LoRA'}}
    head = {'type': 'FCNHead', 'in_channels': 64, 'in_index': 3, 'channels': 8, 'num_convs': 1, 'num_classes': 4}
    cfg = Config(
        {
            'default_scope': 'mmseg',
            'custom_imports': {'imports': ['mmsls.integrations.mmseg'], 'allow_failed_imports': False},
            'model': {
                'type': 'EncoderDecoder',
                'data_preprocessor': {'type': 'SegDataPreProcessor', 'size': (64, 96)},
                'backbone': backbone,
                'decode_head': {**head, 'norm_cfg': {'type': 'BN'}, 'align_corners': False},
                'test_cfg': {'mode': 'whole'},
            },
            'test_pipeline': [{'type': 'LoadImageFromFile'}, {'type': 'PackSegInputs'}],
        }
    )
    model = randomise(runs.build_model(with_imports(cfg)), only_trainable=True)
    checkpoint = {'meta': {}, 'state_dict': dict(model.state_dict())}
    slim(model, checkpoint)
    torch.save(checkpoint, tmp_path / 'slim.pth')
    segmentor = library.open(pack(cfg, tmp_path / 'slim.pth', tmp_path / 'roads').folder)
    model.eval().cfg = cfg
    theirs, ours = (inference_model(each, PICTURES[0]).seg_logits.data for each in (model, segmentor))
    assert torch.equal(ours, theirs)
    assert library.memory().base == before.base
    init_default_scope(library['full'].cfg.default_scope)
    assert torch.equal(boxes(library['full']), detections)


def test_what_differs_between_tasks_is_not_shared(mmseg_vit_host, randomise, tmp_path):
    """Another image size has position embeddings of its own; a layer that computes by an adapter stays the task's."""
    torch.save(mmseg_vit_host.base_of(randomise(mmseg_vit_host.stock())), tmp_path / 'base.pth')
    base, lora = str(tmp_path / 'base.pth'), {'type': 'LoRA', 'rank': 2}
    build = [{'img_size': 64}, {'img_size': 96}, {'img_size': 64, 'adapter': lora}, {'img_size': 64, 'adapter': lora}]
    models = [mmseg_vit_host.pruned(base_checkpoint=base, **arguments).eval() for arguments in build]
    for seed, model in enumerate(models):
        randomise(model, seed=seed, only_trainable=True)
    image = torch.randn(1, 3, 64, 64)
    shared = SharedBase()
    with torch.no_grad():
        before = [model(image)[-1] for model in models]
        for model in models:
            shared.adopt(model)
        for model, expected in zip(models, before, strict=True):
            assert torch.equal(model(image)[-1], expected)
    small, large, first, second = models
    assert small.pos_embed.data_ptr() != large.pos_embed.data_ptr()
    assert small.pos_embed.data_ptr() == first.pos_embed.data_ptr()
    assert first.layers[0].attn is not second.layers[0].attn
    weights = {model.layers[0].attn.attn._parameters['in_proj_weight'].data_ptr() for model in models}
    assert len(weights) == 1


def test_closing_frees_the_name_and_keeps_the_base(library, folders):
    before = library.memory()
    library.close('full')
    assert 'full' not in library
    assert (library.memory().base, len(library)) == (before.base, 3)
    library.open(folders['full'])
    assert library.memory() == before


# Bad input: the library stays as it was.


def state_of(library):
    return library.names, library.memory(), library.base_sha256


def test_two_tasks_of_one_name_are_refused(library, folders):
    before = state_of(library)
    with pytest.raises(ValueError, match="name: a task 'full' is open already"):
        library.open(folders['pruned'], name='full')
    assert state_of(library) == before
    library.open(folders['pruned'], name='again')
    assert torch.equal(boxes(library['again']), boxes(library['pruned']))


def test_a_task_on_another_base_is_refused(library, detector_cfg, base_state, tmp_path):
    before = state_of(library)
    other = tmp_path / 'other.pth'
    torch.save({'state_dict': {key: value + 1 for key, value in base_state.items()}}, other)
    cfg = detector_cfg(tmp_path, backbone={'base_checkpoint': str(other)})
    model = runs.build_model(with_imports(cfg))
    checkpoint = {'meta': {}, 'state_dict': dict(model.state_dict())}
    slim(model, checkpoint)
    torch.save(checkpoint, tmp_path / 'slim.pth')
    folder = pack(cfg, tmp_path / 'slim.pth', tmp_path / 'task').folder
    with pytest.raises(ValueError, match='stands on the base with sha256'):
        library.open(folder)
    assert state_of(library) == before


def test_a_damaged_task_is_refused(library, folders, tmp_path):
    before = state_of(library)
    copied = Path(shutil.copytree(folders['full'], tmp_path / 'copied'))
    (copied / 'adapters.safetensors').write_bytes(b'nothing')
    with pytest.raises(ValueError, match='adapters'):
        library.open(copied, name='copied')
    assert state_of(library) == before


def test_a_base_that_is_another_file_is_refused(folders, base_state, tmp_path):
    other = tmp_path / 'other.pth'
    torch.save({'state_dict': {key: value + 1 for key, value in base_state.items()}}, other)
    library = TaskLibrary(str(other))
    with pytest.raises(ValueError, match='trained on a base'):
        library.open(folders['full'])
    assert (len(library), library.memory().base) == (0, 0)


def test_an_unknown_name_is_named(library):
    with pytest.raises(KeyError, match=r'no task .other. is open; open: full, pruned'):
        library['other']
    with pytest.raises(KeyError, match='other'):
        library.close('other')


def test_blocks_that_stand_elsewhere_share_the_memory_of_their_own(mmdet_host, base_file):
    adapter = {'type': 'mmsls.Convpass', 'rank': 4}
    shared, kept = SharedBase(), ((0, 1), (1, 0), (2, 0), (2, 2), (3, 1))
    cut, full = (mmdet_host.pruned(base_checkpoint=base_file, adapter=adapter, kept_blocks=b) for b in (kept, None))
    for backbone in (cut, full):
        shared.adopt(backbone)
    whole = dict(full.iter_blocks())
    for number, block in cut.iter_blocks():
        ours, theirs = block.ffn.layers[1].weight, whole[number].ffn.layers[1].weight
        assert ours.data_ptr() == theirs.data_ptr()
