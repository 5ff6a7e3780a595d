"""Work shared out over processes, and failures that all of them hear of."""

from __future__ import annotations

import pytest

from mmsls.parallel.ranks import jobs_here, portable, raise_first, shared_out


@pytest.mark.parametrize('world', [2, pytest.param(3, marks=pytest.mark.long)])
def test_every_process_gets_all_results_and_the_first_failure(told_by, world):
    told = told_by('rank_worker.py', world)
    every = [[[item, [item, item**2]] for item in range(count)] for count in (7, 2, 0)]
    assert all(one['results'] == [*every, ["KeyError('one')"]] for one in told)
    # Each did its own part of the first seven.
    assert sorted(item for one in told for item in one['mine'][: len(range(7)[told.index(one) :: world])]) == [
        *range(7)
    ]


def test_one_process_works_alone_and_keeps_its_failure():
    assert shared_out(lambda items: {item: -item for item in items}, [3, 1, 2]) == {3: -3, 1: -1, 2: -2}
    assert shared_out(lambda items: {}[items], []) == {}
    error = ValueError('no')
    with pytest.raises(ValueError, match='no') as caught:
        raise_first(error)
    assert caught.value is error
    raise_first(None)


class Wordless(Exception):
    """Demands arguments that are not its text."""

    def __init__(self, what, where):
        super().__init__(f'{what} in {where}')


def test_a_failure_that_cannot_travel_is_told_in_words():
    assert str(portable(Wordless('a bug', 'a place'))) == 'Wordless: a bug in a place'


def test_processes_of_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr('mmsls.parallel.ranks.cpu_count', lambda: 8)
    assert (jobs_here(None), jobs_here(3)) == (8, 3)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '3')
    assert (jobs_here(None), jobs_here(3)) == (2, 3)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '99')
    assert jobs_here(None) == 1
