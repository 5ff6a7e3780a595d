"""Score every block of a tuned model, outside a training run, and write the pruning index."""

from __future__ import annotations

import argparse

from mmengine.config import DictAction

from mmsls import runs
from mmsls.report.errors import one_line_errors
from mmsls.report.progress import ChainProgress, terminal


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config that the checkpoint was tuned with')
    parser.add_argument('checkpoint')
    parser.add_argument(
        '--split', choices=runs.SPLITS, default='val', help='whose images, with the test transform (default: val)'
    )
    parser.add_argument('--out', help='index file (default: pruning_index.json in the work directory)')
    parser.add_argument('--alpha', type=float, help='threshold factor, in (0, 1]')
    parser.add_argument(
        '--scope', choices=('model', 'stage'), help="the paper's walk over all blocks, or each stage on its own"
    )
    parser.add_argument('--min-depth', type=int, help='fewest blocks kept in every stage')
    parser.add_argument(
        '--reference', choices=('top', 'peak'), help='threshold relative to the top or to the best block'
    )
    parser.add_argument('--max-samples', type=int, help='most samples kept')
    parser.add_argument('--seed', type=int, help='seed of the choice of samples and of t-SNE')
    parser.add_argument('--work-dir', help="where logs go (default: the config's, or work_dirs/<its name>)")
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='key=value settings that override the config'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = runs.load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    names = ('alpha', 'scope', 'min_depth', 'reference', 'max_samples', 'seed')
    overrides = {name: getattr(args, name) for name in names}
    with ChainProgress(terminal()) as progress:
        stage = progress.stage(f'score {args.split}', False)
        runs.score(cfg, args.checkpoint, args.split, args.out, on_batch=stage.on_batch, **overrides)


if __name__ == '__main__':
    with one_line_errors():
        main()
