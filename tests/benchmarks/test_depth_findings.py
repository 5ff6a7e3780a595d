"""What the study of depths keeps: gathered from a chain's folder, read back as it was, and told in tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mmsls.pruning_index import PruningIndex
from mmsls.scoring import Curve, Rule

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture
def study(monkeypatch, tmp_path):
    """One task with one seed whose decision, tests and a criterion lie in its folder as the chain writes them."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.chdir(BENCHMARKS.parent)
    from depth_study import Study

    made = Study('sign_digits', 1, tmp_path, progress=None, budget=0.25)
    write_index(made.folder, [70.0, 95.0, 96.0], {'stability': {'stable': False, 'between': [[2], [3]]}})
    write_index(made.folder / 'bridged_test', [71.0, 94.0, 97.0], {})
    for name, value in {'tuned': 97.0, 'pruned': 10.0, 'bridged': 94.0}.items():
        (made.folder / name).mkdir(exist_ok=True)
        (made.folder / name / 'metrics.json').write_text(json.dumps({'accuracy/top1': value}))
    return made


def write_index(folder: Path, scores: list[float], known: dict) -> None:
    curve = Curve({(0, block): score for block, score in enumerate(scores)}, 'points')
    folder.mkdir(exist_ok=True)
    backbone = {'type': 'PrunedVisionTransformer', 'embed_dims': 8, 'depths': (3,)}
    index = PruningIndex.create(scores=curve, backbone=backbone, rule=Rule(max_drop=1.5), provenance=known)
    index.save(folder / 'pruning_index.json')


def test_a_finding_holds_what_the_folder_holds_and_comes_back_from_its_file(study, tmp_path):
    import depth_findings

    found = depth_findings.Finding.of(study)
    assert found.key == (0.25, 'sign_digits', 1)
    assert found.points == {'tuned': 97.0, 'pruned': 10.0, 'bridged': 94.0}
    assert found.decision('bridged') == depth_findings.Decided(2, [70.0, 95.0, 96.0], False, [2, 3])
    assert found.truth() == [71.0, 94.0, 97.0]
    assert found.first() is None
    depth_findings.save([found], tmp_path / 'found.json')
    assert depth_findings.load(tmp_path / 'found.json') == [found]
    assert depth_findings.load(tmp_path / 'none.json') == []


def test_a_later_finding_takes_the_place_of_the_same_seed_alone(study):
    import depth_findings

    found = depth_findings.Finding.of(study)
    other, later = replace(found, seed=0), replace(found, points={'tuned': 1.0})
    assert depth_findings.merged([found, other], [later]) == [other, later]


def test_tables_tell_what_was_lost(study, capsys):
    import depth_findings
    from depth_tables import show_tables

    found = depth_findings.Finding.of(study)
    show_tables([found, replace(found, seed=2, points={'tuned': 97.0})])
    told = capsys.readouterr().out
    assert 'decisions, on test (25 % of the training)' in told
    row = next(line for line in told.splitlines() if 'sign_digits' in line)
    told_of_it = row.replace('│', '').split()
    assert told_of_it == ['sign_digits', '1', '2', 'no:', '2', 'or', '3', '97.0', '10.0', '94.0', '3.0']
    assert 'nothing retrained' in told
    assert 'retrained for as long' not in told
