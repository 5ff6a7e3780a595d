"""Fit the last layer of a head anew in closed form, from labelled training images: no training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmsls import runs
from mmsls.chain.state import REFITTED
from mmsls.cli import fitting_parser, one_line_errors
from mmsls.commands._fitting import fitted


def parser() -> argparse.ArgumentParser:
    config, checkpoint = 'config of the model, such as that of the retraining', 'its weights, or those at full depth'
    return fitting_parser(__doc__, config, checkpoint, REFITTED, 5000)


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    console, _, out, layer = fitted(parser().parse_args(argv), 'refit', REFITTED, runs.refit)
    console.print(layer, highlight=False, soft_wrap=True)
    console.print(
        f'wrote {out}; test it with the same config and index, or retrain from it (load_from)',
        highlight=False,
        soft_wrap=True,
    )
