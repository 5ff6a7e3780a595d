"""Unpack a task folder into a config and a slim checkpoint, which init_detector, init_model and mmsls test read."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmsls.cli import add_trust, one_line_errors, path_argument
from mmsls.deploy import task_folder


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument('folder', type=path_argument, help='the task folder')
    options.add_argument('out', type=path_argument, help='folder for config.py and weights.pth')
    add_trust(options)
    return options


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    for path in task_folder.unpack(args.folder, args.out, args.trust):
        print(path)
