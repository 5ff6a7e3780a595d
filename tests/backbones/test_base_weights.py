from __future__ import annotations

import functools
import hashlib
import http.server
import os
import re
import threading
from pathlib import Path

import pytest
import timm
import torch
from timm.models.swin_transformer import SwinTransformer as TimmSwin

from mmsls.backbones.base_files import read_base
from mmsls.backbones.base_weights import fit, swin_keys, unfold_order

TINY = {'embed_dims': 8, 'depths': (2, 2, 3, 2), 'num_heads': (1, 2, 2, 4), 'window_size': 4}


def timm_swin(window=4):
    arguments = {'embed_dim': 8, 'depths': TINY['depths'], 'num_heads': TINY['num_heads'], 'window_size': window}
    # At 256 px the last grid is 8x8. On a grid of one window timm and mmpretrain leave the shift out and mmdet does
    # not.
    return TimmSwin(img_size=256, num_classes=5, strict_img_size=False, **arguments).eval()


def microsoft_keys(state):
    """Rename timm's tensors as the original repository does: patch merging belongs to the stage before it."""
    return {
        re.sub(r'^layers\.(\d+)\.downsample', lambda m: f'layers.{int(m[1]) - 1}.downsample', key).replace(
            'head.fc.', 'head.'
        ): value
        for key, value in state.items()
    }


@pytest.fixture
def theirs(randomise):
    return randomise(timm_swin())


@pytest.fixture
def save(tmp_path):
    def run(content, name='base.pth'):
        torch.save(content, tmp_path / name)
        return str(tmp_path / name)

    return run


def stage_outputs(model, x):
    """Return the outputs of timm's stages before each patch merging, (B, H, W, C)."""
    outs = []
    for stage in model.layers:
        stage.blocks.register_forward_hook(lambda _, __, out: outs.append(out))
    with torch.no_grad():
        model.forward_features(x)
    return outs


@pytest.mark.parametrize('style', ['timm', 'microsoft'])
def test_foreign_weights_compute_what_they_did_at_home(host, theirs, save, style):
    """Renaming, position tables, and the order of the four neighbours in a patch merging, stage by stage."""
    state = theirs.state_dict()
    content = (
        state
        if style == 'timm'
        else {'model': {**microsoft_keys(state), 'layers.0.blocks.1.attn_mask': torch.zeros(4, 16, 16)}}
    )
    ours = host.pruned(base_checkpoint=save(content)).eval()
    x = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        found = ours(x)
        for stage, expected in enumerate(stage_outputs(theirs, x)):
            normed = getattr(ours, f'norm{stage}')(expected)
            torch.testing.assert_close(found[stage], normed.permute(0, 3, 1, 2), atol=1e-4, rtol=1e-4)


def test_published_key_names_of_timm():
    """The real model of the zoo, keys only: none is left over and none is missing in the official depths."""
    from mmdet.models.backbones import SwinTransformer

    zoo = timm.create_model('swin_tiny_patch4_window7_224').state_dict()
    own = SwinTransformer().state_dict()
    found = {key: tuple(value.shape) for key, value in swin_keys(zoo).items() if not key.startswith(('head.', 'norm.'))}
    needed = {key: tuple(value.shape) for key, value in own.items() if not re.match(r'norm\d', key)}
    assert found == {key: shape for key, shape in needed.items() if key in found}
    assert set(needed) - set(found) <= {key for key in needed if key.endswith('relative_position_index')}


def test_unfold_order_is_the_hosts_sampling():
    """Number every input value by (row, column, channel) and let nn.Unfold say where it puts them."""
    channels = 3
    grid = torch.zeros(1, channels, 2, 2)
    for row in range(2):
        for column in range(2):
            grid[0, :, row, column] = 10 * (row + 2 * column) + torch.arange(channels)
    unfolded = torch.nn.Unfold(2, stride=2)(grid)[0, :, 0]
    stacked = torch.cat([10 * neighbour + torch.arange(channels) for neighbour in range(4)]).float()
    assert torch.equal(unfold_order(stacked), unfolded)
    assert torch.equal(unfold_order(stacked.repeat(5, 1)), unfolded.repeat(5, 1))


@pytest.mark.parametrize(
    'wrap',
    [
        lambda state: state,
        lambda state: {'state_dict': state},
        lambda state: {'model': state, 'optimizer': {'lr': 1}},
        lambda state: {
            'state_dict': {f'backbone.{k}': v for k, v in state.items()} | {'head.fc.weight': torch.zeros(5, 64)}
        },
        lambda state: {
            'state_dict': {f'module.backbone.{k}': v for k, v in state.items()} | {'module.neck.x': torch.zeros(1)}
        },
        lambda state: {
            **state,
            'head.weight': torch.zeros(5, 64),
            'norm.weight': torch.zeros(64),
            'norm3.bias': torch.ones(64),
        },
    ],
    ids=['bare', 'state_dict', 'model', 'mmpretrain', 'ddp', 'head'],
)
def test_wrappers_and_prefixes(mmdet_host, base_state, save, wrap):
    model = mmdet_host.pruned(base_checkpoint=save(wrap(base_state)))
    state = model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in base_state.items())
    # A lone norm is the classifier's, not an output norm.
    assert model.norm3.bias.abs().max() == 0


def test_base_of_mmpretrain_itself(mmdet_host, randomise, save):
    from mmpretrain.models.backbones import SwinTransformer

    arch = {'embed_dims': 8, 'depths': [2, 2, 3, 2], 'num_heads': [1, 2, 2, 4]}
    theirs = randomise(
        SwinTransformer(arch=arch, img_size=256, window_size=4, out_indices=(0, 1, 2, 3), out_after_downsample=False)
    )
    state = {
        f'backbone.{key}': value for key, value in theirs.state_dict().items() if not re.match(r'norm[012]\.', key)
    }
    model = mmdet_host.pruned(base_checkpoint=save({'state_dict': state})).eval()
    for norm, twin in zip(model.output_norms().values(), (getattr(theirs, f'norm{i}') for i in range(4)), strict=True):
        norm.load_state_dict(twin.state_dict())
    x = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        theirs.eval()
        for ours, expected in zip(model(x), theirs(x), strict=True):
            torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_output_norms_of_a_detector_are_taken_as_a_start(mmdet_host, randomise, save):
    whole = randomise(mmdet_host.stock())
    model = mmdet_host.pruned(base_checkpoint=save(whole.state_dict()))
    for name, norm in model.output_norms().items():
        assert torch.equal(norm.weight, whole.state_dict()[f'{name}.weight'])
        assert norm.weight.requires_grad


def test_half_precision_base(mmdet_host, base_state, save):
    model = mmdet_host.pruned(
        base_checkpoint=save({k: v.half() if v.is_floating_point() else v for k, v in base_state.items()})
    )
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    torch.testing.assert_close(
        model.state_dict()['patch_embed.projection.weight'],
        base_state['patch_embed.projection.weight'],
        atol=1e-3,
        rtol=1e-3,
    )


# Window size.


def test_tables_are_interpolated_to_another_window(host, base_file, base_state):
    model = host.pruned(base_checkpoint=base_file, window_size=7)
    name = 'stages.1.blocks.0.attn.w_msa.relative_position_bias_table'
    table = model.state_dict()[name]
    assert table.shape == (13 * 13, 2)
    old = base_state[name].t().view(1, 2, 7, 7)
    expected = torch.nn.functional.interpolate(old, size=(13, 13), mode='bicubic').view(2, -1).t()
    torch.testing.assert_close(table, expected)
    # What does not depend on the window is untouched.
    key = 'stages.1.blocks.0.attn.w_msa.qkv.weight'
    assert torch.equal(model.state_dict()[key], base_state[key])


def test_interpolation_keeps_a_smooth_table_and_its_axes():
    side = torch.linspace(-1, 1, 7)
    slope = (3 * side[:, None] + side[None, :]).reshape(-1, 1)
    wide = fit(slope, torch.zeros(15 * 15, 1)).view(15, 15)
    assert (wide.diff(dim=0).mean() / wide.diff(dim=1).mean()).item() == pytest.approx(3, rel=1e-3)
    assert fit(slope, slope) is slope


def test_other_squares_are_never_interpolated(host, base_state, save):
    """An FFN of 16 hidden units is no table, though 16 and 64 are squares."""
    small = host.stock(mlp_ratio=2)
    state = {key: value for key, value in small.state_dict().items() if not key.startswith('norm')}
    with pytest.raises(ValueError, match=r'misshapen stages\.0\.blocks\.0\.ffn\.layers\.0\.0\.weight'):
        host.pruned(base_checkpoint=save(state), mlp_ratio=8)


# Refusals.


def test_missing_surplus_and_misshapen_keys_are_named_with_shapes(mmdet_host, base_state, save):
    key = 'stages.0.blocks.0.attn.w_msa.qkv.weight'
    without = {k: v for k, v in base_state.items() if k != key}
    with pytest.raises(ValueError, match=rf'missing {re.escape(key)} \(24, 8\)'):
        mmdet_host.pruned(base_checkpoint=save(without))
    with pytest.raises(ValueError, match=r'left over stages\.0\.blocks\.0\.gamma \(3,\)'):
        mmdet_host.pruned(base_checkpoint=save({**base_state, 'stages.0.blocks.0.gamma': torch.zeros(3)}))
    with pytest.raises(ValueError, match=rf'misshapen {re.escape(key)}: \(24, 9\) in the file, \(24, 8\) in the model'):
        mmdet_host.pruned(base_checkpoint=save({**base_state, key: torch.zeros(24, 9)}))


def test_another_width_is_refused_with_the_first_keys_only(mmdet_host, base_file):
    with pytest.raises(ValueError, match=r'does not fit.*\(8, 3, 4, 4\).*\(16, 3, 4, 4\).* and \d+ more') as caught:
        mmdet_host.pruned(base_checkpoint=base_file, embed_dims=16)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize('depths', [(2, 2, 2, 2), (2, 2, 4, 2)])
def test_another_depth_is_refused_pruned_or_not(mmdet_host, base_file, depths):
    for kept in (None, (1, 1, 2, 1)):
        if depths == (2, 2, 4, 2) and kept:
            continue  # the block that the base lacks is pruned
        with pytest.raises(ValueError, match=r'stages\.2\.blocks\.[23]'):
            mmdet_host.pruned(base_checkpoint=base_file, depths=depths, kept_depths=kept)


def test_a_refused_base_changes_nothing(mmdet_host, base_state):
    from mmsls.backbones.base_weights import load_base

    model = mmdet_host.stock()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    bad = {**base_state, 'patch_embed.projection.weight': torch.zeros(8, 3, 2, 2)}
    with pytest.raises(ValueError, match='misshapen'):
        load_base(model, bad, 'x', optional=lambda key: key.startswith('norm'))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_that_wants_to_run_code_is_refused_and_does_not_run(mmdet_host, base_state, save, tmp_path):
    trap = tmp_path / 'ran'
    with pytest.raises(ValueError, match=r'base_checkpoint.*weights_only.*mkdir'):
        mmdet_host.pruned(base_checkpoint=save({**base_state, 'extra': Bomb(str(trap))}))
    assert not trap.exists()


def test_absent_base_is_refused(mmdet_host, tmp_path):
    for path in (tmp_path / 'no.pth', tmp_path):
        with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
            mmdet_host.pruned(base_checkpoint=str(path))


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'hello world',
        b'{"a": 1}',
        b'PK\x03\x04 cut',
        b'\x80\x02junk',
        b'version https://git-lfs',
        b'\x89PNG\r\n\x1a\n',
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(mmdet_host, tmp_path, content):
    path = tmp_path / 'base.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'base_checkpoint: .*base\.pth'):
        mmdet_host.pruned(base_checkpoint=str(path))


@pytest.mark.parametrize(
    'content', [{}, {'state_dict': {}}, {'epoch': 3}, [1, 2], 'text', {'state_dict': [1]}, torch.zeros(2)]
)
def test_a_checkpoint_without_tensors_of_a_model_is_refused(mmdet_host, save, content):
    with pytest.raises(ValueError, match='holds no tensors'):
        mmdet_host.pruned(base_checkpoint=save(content))


def test_cut_short_download_is_refused(mmdet_host, base_file, tmp_path):
    path = tmp_path / 'cut.pth'
    with open(base_file, 'rb') as file:
        path.write_bytes(file.read()[:-2000])
    with pytest.raises(ValueError, match=r'cut\.pth'):
        mmdet_host.pruned(base_checkpoint=str(path))


# Location and hash.


def test_hash_is_the_files(base_file, mmdet_host):
    with open(base_file, 'rb') as file:
        expected = hashlib.sha256(file.read()).hexdigest()
    assert read_base(base_file)[1] == expected
    assert mmdet_host.pruned(base_checkpoint=base_file).base_sha256 == expected


def test_a_url_that_cannot_be_fetched_is_named(mmdet_host, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    with pytest.raises(
        FileNotFoundError, match=r"base_checkpoint: 'http://127\.0\.0\.1:9/swin\.pth' cannot be fetched"
    ):
        mmdet_host.pruned(base_checkpoint='http://127.0.0.1:9/swin.pth')
    assert not list((tmp_path / 'hub/checkpoints').iterdir())


def test_a_base_may_be_given_as_a_path_object(mmdet_host, base_file):
    assert mmdet_host.pruned(base_checkpoint=Path(base_file)).base_checkpoint == base_file


def test_url_is_downloaded_once(mmdet_host, base_file, base_state, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    folder, name = os.path.split(base_file)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{server.server_port}/{name}'
    try:
        first = mmdet_host.pruned(base_checkpoint=url)
    finally:
        server.shutdown()
    again = mmdet_host.pruned(base_checkpoint=url)
    assert first.base_sha256 == again.base_sha256 == read_base(base_file)[1]
    assert torch.equal(again.patch_embed.projection.weight, base_state['patch_embed.projection.weight'])
