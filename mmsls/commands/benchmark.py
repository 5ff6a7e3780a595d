"""Compare what configs cost: parameters, MACs and latency of one test image, relative to the first config.

No checkpoint is asked for, so heads are untrained: how long a detector's post-processing takes depends on what its head
predicts, and is not that of a trained model. The base must be there. The image is the first one of the first config's
test set.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mmengine.config import DictAction
from mmengine.device import get_device
from torch import nn

from mmsls import runs
from mmsls.backbones import PrunedBackbone
from mmsls.cli import one_line_errors, path_argument
from mmsls.cost.measuring import Row, first_images, measure, measure_training
from mmsls.report.console_log import terminal
from mmsls.report.table import markdown_table


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        'configs',
        nargs='+',
        type=path_argument,
        help='such as a tune.py and its pruned.py; for one task, on one toolbox',
    )
    options.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='key=value settings that override those of every config'
    )
    return options


def kept_depths(model: nn.Module) -> tuple[int, ...]:
    """Return the blocks of each stage; nothing for a host's own backbone."""
    return next((module.kept_depths for module in model.modules() if isinstance(module, PrunedBackbone)), ())


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    cfgs = {path: runs.load_config(path, options=args.cfg_options) for path in args.configs}
    scopes = sorted({str(cfg.get('default_scope')) for cfg in cfgs.values()})
    if len(scopes) > 1:
        sys.exit(
            f'error: configs: they are for {" and ".join(scopes)}, whose images are not alike; compare those of one '
            'toolbox'
        )
    first = next(iter(cfgs.values()))
    runs.check_presence(first, 'test', 'train')
    models = [runs.build_model(cfg).to(get_device()) for cfg in cfgs.values()]
    rows = [Row(path, kept_depths(model)) for path, model in zip(cfgs, models, strict=True)]
    measure(rows, models, first_images(first, 'test'))
    measure_training(rows, models, first_images(first, 'train', 2))
    note = 'Heads are untrained: times include what untrained heads predict.'
    terminal().print(f'{markdown_table(rows)}{note}', highlight=False, markup=False, soft_wrap=True)
