"""Predict a folder of images with a task folder: a line of JSON for each, and a segmentor's maps."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mmsls.cli import add_trust, one_line_errors, path_argument
from mmsls.deploy.image_folder import PREDICTIONS, predict_folder
from mmsls.deploy.predictor import TaskPredictor


def part_argument(text: str) -> tuple[int, int]:
    """Return a part of the command line.

    Raises:
        argparse.ArgumentTypeError: If it is none.

    Example:
        >>> part_argument('3/8')
        (3, 8)
    """
    try:
        number, count = (int(word) for word in text.split('/'))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{text!r} is no part such as 3/8') from error
    return number, count


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument('task', type=path_argument, help='a task folder, as `pack` and the chain leave it')
    options.add_argument('images', type=path_argument, help='a folder of images, those in folders below it included')
    options.add_argument('out', type=path_argument, help='a new folder')
    options.add_argument('--base', type=path_argument, help='where the base lies (default: where the task says)')
    options.add_argument('--device', help='where the model runs (default: the GPU, if there is one)')
    options.add_argument('--min-score', type=float, default=0.3, help='boxes below it are left out')
    options.add_argument('--batch-size', type=int, default=8, help='images that are predicted together')
    told = 'only the 3rd of 8 parts of the images, say: one command for each, on any machines'
    options.add_argument('--part', type=part_argument, default=(1, 1), metavar='K/N', help=told)
    add_trust(options)
    return options


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    predictor = TaskPredictor(args.task, args.base, args.device, args.min_score, args.trust)
    done = predict_folder(predictor, args.images, args.out, args.part, args.batch_size, say)
    print(f'{args.out}/{PREDICTIONS}: {done["images"]} images, {done["unread"]} of them could not be read')
    if done['unread']:
        sys.exit(1)


def say(done: int, total: int) -> None:
    """Say how far it is, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f'\r{done} of {total} images', end='\n' if done == total else '', file=sys.stderr, flush=True)
