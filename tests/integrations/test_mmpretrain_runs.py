"""Whole (tiny) classification runs in MMPretrain: EMA, AMP, resume, slim checkpoints, scoring, both inferences."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from mmengine.config import Config
from mmpretrain.apis import ImageClassificationInferencer
from mmpretrain.models.backbones import SwinTransformer, VisionTransformer
from mmpretrain.utils import register_all_modules

from mmsls import runs
from mmsls.pruning_index import PruningIndex
from mmsls.vtab.digits import write_digits_task

SLIM = {'type': 'mmsls.SlimCheckpointHook'}
EMA = {'type': 'EMAHook', 'momentum': 0.3}
CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4, 'dropout': 0.0}
REPADAPTER = {'type': 'mmsls.RepAdapter', 'rank': 4, 'dropout': 0.0, 'scale': 4.0}
SWIN = {
    'arch': {'embed_dims': 8, 'depths': (2, 2, 3, 2), 'num_heads': (1, 2, 2, 4)},
    'window_size': 2,
    'img_size': 64,
    'drop_path_rate': 0.0,
}
VIT = {
    'arch': {'embed_dims': 32, 'num_layers': 4, 'num_heads': 2, 'feedforward_channels': 64},
    'img_size': 64,
    'patch_size': 16,
}
NAMES = itertools.count()


def make_base(cls, options, randomise, folder):
    path = folder / 'base.pth'
    torch.save({'state_dict': randomise(cls(**options)).state_dict()}, path)
    return str(path)


class Kind:
    """One backbone of the host: its arguments and what follows it."""

    def __init__(self, backbone, base, pruned, **after):
        self.backbone, self.base, self.pruned, self.after = backbone, base, pruned, after


@pytest.fixture(scope='module', params=['swin', 'vit'])
def kind(request, randomise, tmp_path_factory):
    folder = tmp_path_factory.mktemp('base')
    if request.param == 'vit':
        head = {'type': 'VisionTransformerClsHead', 'num_classes': 10, 'in_channels': 32}
        base = make_base(VisionTransformer, VIT, randomise, folder)
        return Kind({'type': 'PrunedVisionTransformer', **VIT}, base, (2,), head=head)
    head = {'type': 'LinearClsHead', 'num_classes': 10, 'in_channels': 64}
    base = make_base(SwinTransformer, SWIN, randomise, folder)
    swin = {'type': 'PrunedSwinTransformer', **SWIN}
    return Kind(swin, base, (2, 1, 2, 0), neck={'type': 'GlobalAveragePooling'}, head=head)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('vtab')
    write_digits_task(root, {'train800': 24, 'val200': 8, 'test': 12})
    return root


def loader(data, ann_file, batch_size, shuffle=False):
    steps = [{'type': 'LoadImageFromFile'}, {'type': 'Resize', 'scale': (64, 64)}, {'type': 'PackInputs'}]
    task = {'type': 'mmsls.VTAB1k', 'data_root': str(data), 'task': 'digits', 'ann_file': ann_file, 'pipeline': steps}
    return {
        'batch_size': batch_size,
        'num_workers': 0,
        'dataset': task,
        'sampler': {'type': 'DefaultSampler', 'shuffle': shuffle},
    }


@pytest.fixture(scope='module')
def make_cfg(kind, data):
    """A function that writes the config of a run of two epochs on 32 digits."""

    def run(work_dir, *, backbone=(), hooks=(SLIM,), **more):
        frozen = {'base_checkpoint': kind.base, 'adapter': CONVPASS}
        norm = {'mean': [127.0] * 3, 'std': [60.0] * 3, 'to_rgb': True}
        model = {'type': 'ImageClassifier', 'data_preprocessor': {'type': 'ClsDataPreprocessor', **norm}, **kind.after}
        optimizer = {'type': 'AdamW', 'lr': 0.01}
        return Config(
            {
                'default_scope': 'mmpretrain',
                'custom_imports': {'imports': ['mmsls.integrations.mmpretrain'], 'allow_failed_imports': False},
                'model': {**model, 'backbone': {**kind.backbone, **frozen, **dict(backbone)}},
                'train_dataloader': loader(data, 'train800val200.txt', 8, shuffle=True),
                'val_dataloader': loader(data, 'test.txt', 5),
                'test_dataloader': loader(data, 'test.txt', 5),
                'val_evaluator': {'type': 'Accuracy', 'topk': (1,)},
                'test_evaluator': {'type': 'Accuracy', 'topk': (1,)},
                'train_cfg': {'type': 'EpochBasedTrainLoop', 'max_epochs': 2},
                'val_cfg': {'type': 'ValLoop'},
                'test_cfg': {'type': 'TestLoop'},
                'optim_wrapper': {'type': 'OptimWrapper', 'optimizer': optimizer},
                'default_hooks': {'checkpoint': {'type': 'CheckpointHook', 'interval': 1}},
                'custom_hooks': [dict(hook) for hook in hooks],
                'work_dir': str(work_dir),
                'randomness': {'seed': 0},
                'log_level': 'WARNING',
                'experiment_name': f'cls_{next(NAMES)}',
                **more,
            }
        )

    register_all_modules(init_default_scope=False)
    # A config file's custom_imports do it; this config is built in memory.
    import mmsls.integrations.mmpretrain  # noqa: F401

    return run


@pytest.fixture(scope='module')
def tuned(make_cfg, tmp_path_factory):
    folder = tmp_path_factory.mktemp('tuned')
    return folder, runs.train(make_cfg(folder, hooks=(EMA, SLIM)))


def differing(left, right):
    return [key for key in left.keys() | right.keys() if key not in right or not torch.equal(left[key], right[key])]


def read(path):
    return torch.load(path, map_location='cpu', weights_only=True)


def test_a_checkpoint_holds_what_was_trained_and_its_average(tuned):
    folder, runner = tuned
    trained = {name for name, parameter in runner.model.named_parameters() if parameter.requires_grad}
    for state, prefix in (
        (read(folder / 'epoch_2.pth')[name], p) for name, p in (('state_dict', ''), ('ema_state_dict', 'module.'))
    ):
        keys = {key.removeprefix(prefix) for key in state} - {'steps', 'backbone._extra_state'}
        assert {key for key in keys if not key.startswith('data_preprocessor')} == trained
    assert all('.adapters.' in name or 'norm' in name or name.startswith('head.') for name in trained)


def test_testing_the_file_gives_the_averaged_model(tuned, make_cfg, tmp_path):
    folder, runner = tuned
    averaged = next(hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook').ema_model.module
    cfg = make_cfg(tmp_path, load_from=str(folder / 'epoch_2.pth'))
    model = runs.build_model(cfg, str(folder / 'epoch_2.pth'))
    assert differing(model.state_dict(), averaged.state_dict()) == []
    assert differing(model.state_dict(), runner.model.state_dict()) != []
    assert set(runs.test(cfg, str(folder / 'epoch_2.pth'))) == {'accuracy/top1'}


def test_a_resumed_run_ends_where_an_unbroken_one_ends(tuned, make_cfg, tmp_path):
    folder, runner = tuned
    cfg = make_cfg(tmp_path, hooks=(EMA, SLIM), resume=True, load_from=str(folder / 'epoch_1.pth'))
    assert differing(runs.train(cfg).model.state_dict(), runner.model.state_dict()) == []


def test_mixed_precision_trains(make_cfg, kind, tmp_path):
    # MMEngine's AmpOptimWrapper asks for a GPU; what it does to the forward pass is this.
    with torch.autocast('cpu', dtype=torch.bfloat16):
        runner = runs.train(make_cfg(tmp_path))
    state, base = runner.model.state_dict(), torch.load(kind.base, weights_only=True)['state_dict']
    fresh = runs.build_model(make_cfg(tmp_path)).state_dict()
    moved = set(differing(state, fresh))
    assert any('.adapters.' in key for key in moved)
    assert not {
        key for key in moved if key.removeprefix('backbone.') in base and 'norm3' not in key and '.ln1.' not in key
    }
    assert all(value.isfinite().all() for value in state.values())


def test_the_chain_from_scores_to_a_pruned_run(tuned, make_cfg, kind, tmp_path):
    folder, _ = tuned
    tuned_file = str(folder / 'epoch_2.pth')
    index = runs.score(make_cfg(tmp_path / 'score'), tuned_file, alpha=1.0)
    assert index.scope == 'model'
    assert index.min_depth == 0
    assert index.provenance['sampler'] == 'ImageSampler'
    assert index.provenance['split'] == 'train'
    assert index.provenance['samples'] == 32
    cfg = make_cfg(tmp_path / 'pruned', backbone={'kept_depths': kind.pruned}, load_from=tuned_file)
    model = runs.train(cfg).model
    assert model.backbone.kept_depths == kind.pruned
    file = tmp_path / 'pruned' / 'epoch_2.pth'
    assert file.stat().st_size < (folder / 'epoch_2.pth').stat().st_size
    assert differing(runs.build_model(cfg, str(file)).state_dict(), model.state_dict()) == []
    with pytest.raises(ValueError, match='kept_depths'):
        runs.build_model(make_cfg(tmp_path), str(file))


def test_the_head_of_a_cut_model_is_refitted(tuned, make_cfg, kind, tmp_path):
    cfg = make_cfg(tmp_path, backbone={'kept_depths': kind.pruned})
    fitted = runs.refit(cfg, str(tuned[0] / 'epoch_2.pth'), tmp_path / 'refitted.pth')
    assert (fitted.name, fitted.samples) == (kind.after['head']['type'], 32)
    assert fitted.better
    before, after = (runs.build_model(cfg, str(path)) for path in (tuned[0] / 'epoch_2.pth', tmp_path / 'refitted.pth'))
    layer = 'head.fc' if hasattr(after.head, 'fc') else 'head.layers.head'
    assert sorted(differing(before.state_dict(), after.state_dict())) == [f'{layer}.bias', f'{layer}.weight']
    assert not any('qkv' in key for key in read(tmp_path / 'refitted.pth')['state_dict'])


@pytest.mark.parametrize('bridge', [False, True])
def test_a_cut_model_is_retrained_towards_the_tuned_ones_features(tuned, make_cfg, kind, tmp_path, bridge):
    tuned_file = str(tuned[0] / 'epoch_2.pth')
    hooks = ({'type': 'mmsls.DistillHook', 'teacher': tuned_file}, SLIM)
    cut = {'kept_depths': kind.pruned, 'bridge': bridge}
    runner = runs.train(make_cfg(tmp_path, backbone=cut, hooks=hooks, load_from=tuned_file))
    found = runner.message_hub.get_scalar('train/loss_distill').data[0]
    assert len(found) == 8
    assert 0 < found[-1] < found[0]
    assert runs.test(make_cfg(tmp_path, backbone=cut, hooks=hooks), str(tmp_path / 'epoch_2.pth'))


def test_the_hook_scores_the_last_validation(make_cfg, tmp_path):
    runs.train(make_cfg(tmp_path, hooks=({'type': 'mmsls.SLSHook'}, SLIM)))
    index = PruningIndex.load(tmp_path / 'pruning_index.json')
    assert (index.scope, index.provenance['split'], index.provenance['samples']) == ('model', 'val', 12)
    assert 'reports' in index.provenance['warning']


def test_merged_adapters_give_the_features_of_the_unmerged_ones(make_cfg, tmp_path, randomise, data):
    from mmsls.features import FeatureRecorder

    cfg = make_cfg(tmp_path, backbone={'adapter': REPADAPTER})
    model = randomise(runs.build_model(cfg), only_trainable=True).eval()
    backbone, x = model.backbone, torch.randn(2, 3, 64, 64)
    with torch.no_grad(), FeatureRecorder(backbone) as recorder:
        backbone(x)
        runs.merge_adapters(backbone)
        backbone(x)
        before, after = recorder.take()
    assert not any('.adapters.' in name for name, _ in backbone.named_parameters())
    for block in before:
        assert (before[block].tokens - after[block].tokens).abs().max() < 1e-5 * before[block].tokens.abs().max()


def test_the_hosts_inferencer_takes_a_slim_checkpoint(tuned, make_cfg, data, tmp_path):
    folder, _ = tuned
    path = tmp_path / 'cfg.py'
    make_cfg(tmp_path).dump(str(path))
    image = next((data / 'digits/images/test').rglob('*.png'))
    classify = ImageClassificationInferencer(str(path), pretrained=str(folder / 'epoch_2.pth'), device='cpu')
    result = classify(str(image))[0]
    assert len(result['pred_scores']) == 10
    wrong = json.loads(json.dumps({'adapter': REPADAPTER}))
    make_cfg(tmp_path, backbone=wrong).dump(str(path))
    with pytest.raises(ValueError, match='adapter'):
        ImageClassificationInferencer(str(path), pretrained=str(folder / 'epoch_2.pth'), device='cpu')
