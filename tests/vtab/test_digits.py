from __future__ import annotations

import cv2

from mmsls.vtab import VTAB1k
from mmsls.vtab.digits import write_digits_task


def test_the_lists_are_a_task(tmp_path):
    folder = write_digits_task(tmp_path, {'train800': 30, 'val200': 12, 'test': 25})
    sets = {name: VTAB1k(str(tmp_path), 'digits', f'{name}.txt') for name in ('train800', 'val200', 'test')}
    assert {name: len(data) for name, data in sets.items()} == {'train800': 30, 'val200': 12, 'test': 25}
    both = VTAB1k(str(tmp_path), 'digits', 'train800val200.txt')
    assert [both.get_data_info(n)['img_path'] for n in (0, 41)] == [
        sets['train800'].get_data_info(0)['img_path'],
        sets['val200'].get_data_info(11)['img_path'],
    ]
    image = cv2.imread(sets['test'].get_data_info(3)['img_path'])
    assert image.shape == (64, 64, 3)
    assert image[0].mean() > 200
    assert image.min() < 60
    assert folder == tmp_path / 'digits'


def test_a_task_that_is_there_is_left_alone(tmp_path):
    folder = write_digits_task(tmp_path, {'train800': 3, 'val200': 2, 'test': 2})
    (folder / 'test.txt').write_text('mine')
    write_digits_task(tmp_path)
    assert (folder / 'test.txt').read_text() == 'mine'
