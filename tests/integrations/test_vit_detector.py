"""mmseg's ViT and neck inside a real (tiny) mmdet run: training with EMA, scoring, slim checkpoints, pruning, AMP."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector

from mmsls.chain.chain import Chain
from mmsls.chain.configs import full_cfg
from mmsls.pruning_index import PruningIndex

CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4, 'dropout': 0.0}
HOOKS = [
    {'type': 'EMAHook', 'momentum': 0.3},
    {'type': 'mmsls.SLSHook', 'alpha': 0.3, 'max_samples': 100},
    {'type': 'mmsls.SlimCheckpointHook'},
]
PICTURE = np.random.default_rng(0).integers(0, 255, (60, 83, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def vit_cfg(detector_cfg, mmseg_vit_host, randomise, tmp_path_factory):
    """A function that writes a RetinaNet over mmseg's ViT, four strides made by mmseg's and mmdet's own necks."""
    base = tmp_path_factory.mktemp('base') / 'vit.pth'
    torch.save(randomise(mmseg_vit_host.stock()).state_dict(), base)

    def run(work_dir, backbone=(), hooks=HOOKS, **more):
        cfg = detector_cfg(work_dir, hooks=hooks, **more)
        cfg.custom_imports.imports = ['mmsls.integrations.mmdet', 'mmsls.integrations.mmseg']
        cfg.model.backbone = {
            **mmseg_vit_host.tiny,
            'type': 'mmseg.PrunedVisionTransformer',
            'out_indices': (0, 1, 2, 3),
            'base_checkpoint': str(base),
            'adapter': CONVPASS,
            **dict(backbone),
        }
        pyramid = {'type': 'mmseg.Feature2Pyramid', 'embed_dim': 16, 'norm_cfg': {'type': 'BN'}}
        cfg.model.neck = [pyramid, {'type': 'FPN', 'in_channels': [16] * 4, 'out_channels': 8, 'num_outs': 4}]
        return cfg

    return run


@pytest.fixture(scope='module')
def tuned(vit_cfg, build_runner, tmp_path_factory):
    """A finished run of two epochs: its folder, config and runner."""
    import mmsls.integrations.mmseg  # noqa: F401 (a config file's custom_imports do it; this config is built in memory)

    folder = tmp_path_factory.mktemp('vit_det')
    cfg = vit_cfg(folder)
    runner = build_runner(cfg)
    runner.train()
    return folder, cfg, runner


def boxes(model):
    instances = inference_detector(model, PICTURE).pred_instances
    return torch.cat([instances.bboxes, instances.scores[:, None]], dim=1)


def test_the_file_is_slim_and_holds_the_average(tuned):
    folder, _, runner = tuned
    checkpoint = torch.load(folder / 'epoch_2.pth', weights_only=True)
    for state in (checkpoint['state_dict'], checkpoint['ema_state_dict']):
        backbone = [key for key in state if 'backbone.' in key]
        assert backbone
        assert all('.adapters.' in key or '_extra_state' in key for key in backbone)
    trained = {name for name, p in runner.model.backbone.named_parameters() if p.requires_grad}
    assert len(trained) == 4 * 2 * 6


def test_init_detector_brings_the_averaged_model_back(tuned, vit_cfg, tmp_path):
    folder, _, runner = tuned
    model = init_detector(vit_cfg(tmp_path), str(folder / 'epoch_2.pth'), device='cpu')
    state = torch.load(folder / 'epoch_2.pth', weights_only=True)['state_dict']
    own = model.state_dict()
    assert all(torch.equal(own[key], value) for key, value in state.items())
    twin = init_detector(vit_cfg(tmp_path), None, device='cpu')
    twin.load_state_dict({**twin.state_dict(), **state})
    torch.testing.assert_close(boxes(model), boxes(twin))
    assert model.backbone.base_sha256 == runner.model.backbone.base_sha256


def test_the_index_is_of_one_stage_and_prunes(tuned, vit_cfg, build_runner, tmp_path):
    folder, _, runner = tuned
    index = PruningIndex.load(folder / 'pruning_index.json')
    assert index.backbone == {'type': 'VisionTransformer', 'embed_dims': 16, 'depths': [4]}
    assert sorted(index.scores) == [(0, block) for block in range(4)]
    pruned = vit_cfg(
        tmp_path, {'kept_depths': 2, 'with_cp': True}, HOOKS[2:], epochs=1, load_from=str(folder / 'epoch_2.pth')
    )
    again = build_runner(pruned)
    again.train()
    assert len(again.model.backbone.layers) == 2
    assert len(again.model.backbone(torch.zeros(1, 3, 64, 64))) == 4
    state = torch.load(folder / 'epoch_2.pth', weights_only=True)['state_dict']
    key = 'backbone.layers.1.adapters.ffn_parallel.up.weight'
    # Retraining went on from the tuned values.
    moved = again.model.state_dict()[key] - state[key]
    assert 0 < moved.abs().max() < 0.1
    del runner


class Silent:
    """Progress that shows nothing."""

    def stage(self, name, reused):
        return self

    def prepare(self, runner):
        pass

    def on_batch(self, done, total):
        pass


def test_the_whole_chain(vit_cfg, tmp_path):
    """Tune, prune by an index that was scored before, retrain, evaluate, with mmseg's backbone in an mmdet config."""
    visualizer = {'type': 'DetLocalVisualizer', 'vis_backends': [{'type': 'LocalVisBackend'}], 'name': 'visualizer'}
    cfg = vit_cfg(tmp_path, hooks=HOOKS[1:], epochs=1, visualizer=visualizer)
    index = PruningIndex.create(
        scores={(0, block): score for block, score in enumerate((0.0, 0.1, 0.4, 0.5))},
        backbone={'type': 'VisionTransformer', 'embed_dims': 16, 'depths': [4]},
        scope='model',
    )
    chain = Chain(cfg, tmp_path / 'chain', Silent(), baseline=full_cfg(cfg))
    index.save(chain.index_path)
    full, tuned, pruned, retrained = chain.run()
    assert [row.depths for row in (full, tuned, pruned, retrained)] == [(4,), (4,), (3,), (3,)]
    assert pruned.macs < full.macs < tuned.macs
    assert pruned.parameters.total < full.parameters.total < tuned.parameters.total
    assert retrained.parameters.stored < full.parameters.total


def test_bf16_training_and_scoring(vit_cfg, build_runner, tmp_path):
    """MMEngine's AmpOptimWrapper wants a GPU; its autocast does not."""
    runner = build_runner(vit_cfg(tmp_path, {'fused_attention': True}, HOOKS[1:], epochs=1))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        runner.train()
    assert all(p.isfinite().all() for p in runner.model.parameters())
    assert len(PruningIndex.load(tmp_path / 'pruning_index.json').scores) == 4
