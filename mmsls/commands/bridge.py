"""Cut a tuned model and fit affine maps in the place of what was removed: no labels, no training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmsls import runs
from mmsls.chain.state import BRIDGED
from mmsls.cli import fitting_parser, one_line_errors
from mmsls.commands._fitting import fitted


def parser() -> argparse.ArgumentParser:
    config = 'config that the checkpoint was tuned with, or that of its retraining'
    return fitting_parser(__doc__, config, 'the model tuned at full depth', BRIDGED, 1000)


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    console, cfg, out, bridges = fitted(parser().parse_args(argv), 'bridge', BRIDGED, runs.bridge)
    setting = cfg.model.backbone.get('bridge') or True
    for bridge in bridges:
        console.print(bridge, highlight=False, soft_wrap=True)
    console.print(
        f'wrote {out}; test it with the same index and model.backbone.bridge={setting}, or retrain from it (load_from)',
        highlight=False,
        soft_wrap=True,
    )
