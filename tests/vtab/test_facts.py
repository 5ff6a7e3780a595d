from __future__ import annotations

import csv

import pytest

from mmsls.vtab import GROUPS, facts_of, task_names
from mmsls.vtab.facts import group_of


def test_the_benchmark_has_19_tasks_in_three_groups():
    assert [len(task_names(group)) for group in GROUPS] == [7, 4, 8]
    assert sorted(task_names()) == sorted(name for group in GROUPS for name in task_names(group))


def test_an_extra_task_is_none_of_the_benchmark():
    assert facts_of('sign_digits').group == 'other'
    assert 'sign_digits' not in task_names()


def test_the_facts_are_the_authors(shared):
    with (shared / 'vtab1k_facts.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['task'] for row in rows] == task_names()
    for row in rows:
        facts = facts_of(row['task'])
        assert (facts.classes, facts.convpass_scale) == (int(row['classes']), float(row['convpass_scale']))
        assert str(facts.convpass_xavier_init) == row['convpass_xavier_init']
        assert facts.repadapter_scale == float(row['repadapter_scale'])


def test_an_unknown_task_is_refused_with_the_nearest_names():
    with pytest.raises(ValueError, match=r"'eurosatt'; did you mean 'eurosat'.*Known: cifar, "):
        facts_of('eurosatt')


@pytest.fixture
def leaves(tmp_path):
    (tmp_path / 'leaves').mkdir()
    (tmp_path / 'leaves' / 'train800val200.txt').write_text('oak.png 0\nash.png 1\nelm.png 2\n')
    return tmp_path


def test_a_folder_of_ones_own_is_a_task(leaves):
    facts = facts_of('leaves', leaves)
    assert (facts.task, facts.group, facts.classes) == ('leaves', 'other', 3)
    assert (facts.convpass_scale, facts.repadapter_scale) == (None, None)
    assert group_of('leaves') == 'other'


def test_a_known_task_is_taken_from_the_table(leaves):
    (leaves / 'leaves').rename(leaves / 'svhn')
    assert facts_of('svhn', leaves) == facts_of('svhn')


@pytest.mark.parametrize('name', ['bark', '.', '..', 'leaves/..', ''])
def test_a_name_of_no_folder_with_lists_is_refused(leaves, name):
    with pytest.raises(ValueError, match=r'no task is called .* is no folder with the lists of one'):
        facts_of(name, leaves)
