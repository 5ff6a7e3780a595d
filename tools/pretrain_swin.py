"""Make configs/bccd's small Swin base by classification: 31 classes of 3 small data sets, 6 minutes on 2 cores."""

from __future__ import annotations

import argparse

from mmengine.logging import MMLogger

from mmsls.cli import one_line_errors, path_argument
from mmsls.demo.small_swin import SmallSwinSettings, pretrain_small_swin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--data-root', type=path_argument, default='../shared/data', help='folder with sign_digits and camvid'
    )
    parser.add_argument('--out', type=path_argument, default='work_dirs/bccd_base/small_swin.pth', help='the base')
    parser.add_argument('--steps', type=int, default=SmallSwinSettings.steps)
    parser.add_argument('--seed', type=int, default=SmallSwinSettings.seed)
    args = parser.parse_args()
    if args.steps < 1:
        parser.error(f'--steps must be at least 1, got {args.steps}')
    MMLogger.get_instance('mmsls')
    pretrain_small_swin(args.out, args.data_root, SmallSwinSettings(steps=args.steps, seed=args.seed))


if __name__ == '__main__':
    with one_line_errors():
        main()
