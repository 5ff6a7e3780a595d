"""Unpack a task folder into a config and a slim checkpoint, which init_detector, init_model and tools/test.py read."""

from __future__ import annotations

import argparse

from mmsls.cli import one_line_errors, path_argument
from mmsls.deploy import task_folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=path_argument, help='the task folder')
    parser.add_argument('out', type=path_argument, help='folder for config.py and weights.pth')
    parser.add_argument(
        '--trust',
        nargs='+',
        default=(),
        metavar='MODULE',
        help='modules of your own that the task may import and build from',
    )
    args = parser.parse_args()
    for path in task_folder.unpack(args.folder, args.out, args.trust):
        print(path)


if __name__ == '__main__':
    with one_line_errors():
        main()
