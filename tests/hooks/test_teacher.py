"""The tuned backbone beside a cut one: the same model in every host, or one clear refusal."""

from __future__ import annotations

import pytest
import torch

from mmsls.hooks.teacher import build_teacher, settings_at

ADAPTER = {'type': 'mmsls.Convpass', 'rank': 4}


@pytest.fixture(scope='module')
def base(column, randomise, tmp_path_factory):
    path = tmp_path_factory.mktemp('base') / 'base.pth'
    torch.save(column.base_of(randomise(column.stock())), path)
    return str(path)


@pytest.fixture
def tuned(column, base, randomise):
    return randomise(column.pruned(base_checkpoint=base, adapter=ADAPTER), seed=1, only_trainable=True).eval()


def saved(backbone, path, name='backbone', drop=()):
    state = {f'{name}.{key}': value for key, value in backbone.state_dict().items()}
    torch.save({'state_dict': {key: value for key, value in state.items() if not key.endswith(tuple(drop))}}, path)
    return str(path)


def model_of(column, base, **more):
    return {'backbone': {'type': 'Any', **column.tiny, 'base_checkpoint': base, 'adapter': ADAPTER, **more}}


def outputs(backbone):
    with torch.no_grad():
        return backbone(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize('bridge', [False, True])
def test_the_teacher_is_the_tuned_model(column, base, tuned, tmp_path, bridge):
    cut = {'kept_depths': column.kept, 'bridge': bridge}
    student = column.pruned(base_checkpoint=base, adapter=ADAPTER, **cut).train()
    file = saved(tuned, tmp_path / 'tuned.pth')
    teacher = build_teacher(student, 'backbone', model_of(column, base, **cut), file)
    for ours, theirs in zip(outputs(teacher), outputs(tuned), strict=True):
        assert torch.equal(ours, theirs)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not any(module.training for module in teacher.modules())


def test_the_outputs_that_are_compared_are_those_that_the_cut_changes(column, base, tuned):
    student = column.pruned(base_checkpoint=base, adapter=ADAPTER, kept_depths=column.kept)
    student.load_state_dict(tuned.state_dict())
    pairs = list(zip(outputs(student.eval()), outputs(tuned), strict=True))
    changed = [place for place, (ours, theirs) in enumerate(pairs) if not torch.equal(ours, theirs)]
    assert student.cut_outputs() == changed
    assert 0 < len(changed) < len(pairs)
    assert tuned.cut_outputs() == []


def test_a_cut_above_all_that_is_read_changes_nothing(mmdet_host, mmseg_vit_host):
    assert mmdet_host.pruned(out_indices=(1, 0), kept_depths=(2, 2, 1, 0)).cut_outputs() == []
    vit = mmseg_vit_host.pruned(out_indices=(0, 2), out_origin=True, kept_depths=2)
    assert (vit.output_tops(), vit.cut_outputs()) == ([None, (0, 0), (0, 2)], [2])
    assert mmseg_vit_host.pruned(kept_blocks=[(0, 1), (0, 2), (0, 3)]).cut_outputs() == [0, 1, 2]


def test_a_backbone_without_a_base_has_a_teacher_too(mmdet_host, randomise, tmp_path):
    tuned = randomise(mmdet_host.pruned()).eval()
    student = mmdet_host.pruned(kept_depths=mmdet_host.kept)
    model = {'part': {'backbone': {**mmdet_host.tiny, 'kept_depths': mmdet_host.kept}}}
    teacher = build_teacher(student, 'part.backbone', model, saved(tuned, tmp_path / 'a.pth', 'part.backbone'))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(outputs(teacher), outputs(tuned), strict=True))
    lacking = saved(tuned, tmp_path / 'b.pth', 'part.backbone', drop=['norm3.weight'])
    with pytest.raises(ValueError, match=r'teacher: .*b\.pth.* at full depth; .*Missing key.*norm3\.weight'):
        build_teacher(student, 'part.backbone', model, lacking)


@pytest.fixture
def refused(mmdet_host, base_file, tmp_path):
    """A function that builds a teacher of what another Swin left, and returns why not."""
    student = mmdet_host.pruned(base_checkpoint=base_file, adapter=ADAPTER, kept_depths=mmdet_host.kept)

    def run(file=None, **arguments):
        if file is None:
            given = {'base_checkpoint': base_file, 'adapter': ADAPTER, **arguments}
            file = saved(mmdet_host.pruned(**given), tmp_path / 'other.pth')
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            build_teacher(student, 'backbone', model_of(mmdet_host, base_file), str(file))
        return str(caught.value)

    return run


def test_another_backbone_is_refused(refused, mmdet_host, randomise, tmp_path):
    cut = refused(kept_depths=(2, 2, 2, 2))
    assert 'name the checkpoint that was tuned before the cut: kept_depths: this checkpoint holds (2, 2, 2, 2)' in cut
    assert 'adapter: this checkpoint holds' in refused(adapter={'type': 'mmsls.LoRA'})
    torch.save(mmdet_host.base_of(randomise(mmdet_host.stock(), seed=9)), tmp_path / 'other_base.pth')
    assert 'base_checkpoint: this checkpoint was trained on' in refused(base_checkpoint=tmp_path / 'other_base.pth')
    assert 'does not hold this backbone at full depth' in refused(
        base_checkpoint=None, adapter=None, depths=(1, 1, 1, 1)
    )


def test_what_is_no_checkpoint_is_refused(refused, tmp_path):
    assert 'no file at' in refused(tmp_path / 'nowhere.pth')
    (tmp_path / 'text.pth').write_text('no tensors')
    assert 'text.pth' in refused(tmp_path / 'text.pth')
    torch.save({'state_dict': {'head.weight': torch.ones(1)}}, tmp_path / 'head.pth')
    assert 'holds nothing of model.backbone' in refused(tmp_path / 'head.pth')
    torch.save([1, 2], tmp_path / 'list.pth')
    assert 'is no checkpoint of tensors' in refused(tmp_path / 'list.pth')


def test_a_model_whose_settings_are_elsewhere_is_refused():
    with pytest.raises(ValueError, match=r'model\.part\.backbone: the config has no settings'):
        settings_at({'backbone': {}}, 'part.backbone')
    with pytest.raises(ValueError, match=r'model\.backbone: the config has no settings'):
        settings_at(None, 'backbone')
