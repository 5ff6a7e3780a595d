"""Work of the main process: its result, or its failure, in every process."""

from __future__ import annotations

import pytest

from mmsls.parallel.main_process import on_main_process


def test_every_process_gets_the_result_or_the_failure(told_by):
    ours, other = told_by('main_process_worker.py', 2)
    assert ours[0] == other[0] == {'by': 0}
    assert ours[1] == other[1] == [False, True]  # nothing was written before all had looked
    for here, there in zip(ours[2:4], other[2:4], strict=True):
        assert here[:2] == there[:2]
        assert here[2] == 'None'
        assert there[2].startswith('process 0\nTraceback')
    assert ours[2][:2] == ['ValueError', 'alpha is 2.0']
    assert ours[3][:2] == ['OSError', "[Errno 28] No space left on device: '/full'"]
    assert ours[4][:2] == ['Wordless', 'a bug in a place']
    assert other[4][:2] == ['RuntimeError', 'Wordless: a bug in a place']
    assert ours[5] == other[5] == 'goes on'


def test_one_process_gets_the_very_result_and_the_very_failure():
    result, error = object(), ValueError('no')

    def fail():
        raise error

    assert on_main_process(lambda: result) is result
    with pytest.raises(ValueError, match='no') as caught:
        on_main_process(fail)
    assert caught.value is error
