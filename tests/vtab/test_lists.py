from __future__ import annotations

from pathlib import Path

import pytest

from mmsls.vtab.lists import TRAIN_LIST, count_classes, parse_line, read_list


def write(folder, *labels):
    (folder / TRAIN_LIST).write_text(''.join(f'images/{i}.png {label}\n' for i, label in enumerate(labels)))
    return folder


def test_classes_are_counted_from_the_training_list(tmp_path):
    assert count_classes(write(tmp_path, 2, 0, 1, 1, 0)) == 3


@pytest.mark.parametrize(
    ('labels', 'said'),
    [
        ((), r'train800val200\.txt: the list is empty'),
        ((0, 3, 1), r'no image is of class 2, but some are of class 3; number the classes from 0 on without gaps'),
        ((1, 2), r'no image is of class 0, but some are of class 2'),
        ((0, 999_999_999), r'no image is of class 1, 2, 3, but some are of class 999999999'),
        ((0, 1, -1), r'label -1 is no class; classes are numbered from 0 on'),
        ((0, 'cat'), r'train800val200\.txt, line 2: .* is not "relative/path label"'),
    ],
)
def test_a_list_that_does_not_number_its_classes_is_refused(tmp_path, labels, said):
    with pytest.raises(ValueError, match=said):
        count_classes(write(tmp_path, *labels))


def test_a_folder_without_lists_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no list at .*train800val200\.txt.* with its lists train800\.txt'):
        count_classes(tmp_path)


def test_entries_in_the_lists_order(tmp_path):
    (tmp_path / 'test.txt').write_text('b c.png 1\n\na.png 0\n')
    assert read_list(tmp_path / 'test.txt') == [('b c.png', 1), ('a.png', 0)]


def test_a_path_that_leaves_the_folder_is_refused():
    with pytest.raises(ValueError, match='no path inside the folder'):
        parse_line(Path('test.txt'), 1, '../a.png 0')
