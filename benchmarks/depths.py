"""Is the depth that SLS picks a good one? The chain of one config, and then every other depth that is asked for.

    python benchmarks/depths.py configs/camvid/tune.py --pruned configs/camvid/pruned.py --baseline
    configs/camvid/baseline.py \
        --depths 1 4 7 12 --work-dir work_dirs/camvid

For each depth: the tuned model cut there, the same retrained, and a model of that depth tuned from the base without
scoring anything. The full depth's retrained model is the control with as many training steps as the others. Then the
score curves before tuning (frozen base, trained head) and after, and what each `alpha` and `reference` would keep. A
run that was interrupted goes on where it stopped; a chain that `tools/run_sls.py` ran with the same configs in the same
folder is taken over.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from common import show
from mmengine.config import Config, DictAction
from rule import show_curves

from mmsls import runs
from mmsls.chain.chain import Chain
from mmsls.chain.configs import without_sls_hook
from mmsls.chain.stages import RunnerObserver
from mmsls.cli import add_rule_options, chosen
from mmsls.cost.complexity import count_macs, latencies
from mmsls.cost.measuring import first_images, run_once
from mmsls.pruning_index import PruningIndex
from mmsls.report.console_log import terminal
from mmsls.report.progress import ChainProgress
from mmsls.report.table import headline

MODELS = ('cut', 'retrained', 'from the base')


def depths_of(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split('-')))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', help='config that tunes adapters at full depth')
    parser.add_argument('--pruned', help='config of the retraining')
    parser.add_argument('--baseline', help='config of the frozen backbone with a trained head')
    parser.add_argument('--depths', type=depths_of, nargs='+', default=[], help='blocks per stage, like 7 or 2-2-4-2')
    parser.add_argument('--truncated', type=depths_of, nargs='*', help='depths to tune from the base (default: all)')
    parser.add_argument('--work-dir')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value settings of every run')
    add_rule_options(parser)
    return parser.parse_args()


class DepthStudy:
    """What follows a chain: other depths than the one it chose, in its own stages."""

    def __init__(self, chain: Chain) -> None:
        self.chain, self.stages = chain, chain.stages

    def at(self, kept: tuple[int, ...], cfg: Config, load_from: str | None) -> Config:
        """Return a config of one depth that does not score."""
        cfg = without_sls_hook(cfg)
        cfg.model.backbone.pop('pruning_index', None)
        cfg.model.backbone.kept_depths = kept
        cfg.load_from = load_from
        return cfg

    def compare(self, kept: tuple[int, ...], truncate: bool) -> dict[str, float]:
        """Return the metric of one depth: cut, retrained, and tuned from the base where asked for."""
        name = 'depth_' + '-'.join(map(str, kept))
        trained, cut = name, f'{name}_cut'
        if kept == PruningIndex.load(self.chain.index_path).kept_depths and self.stages.is_trained('retrained'):
            trained, cut = 'retrained', 'pruned'  # the chain has them
        cfg = self.at(kept, self.chain.pruned, self.stages.checkpoint('tuned'))
        found = {'cut': self.stages.test(cut, cfg, cfg.load_from), 'retrained': self.trained(trained, cfg)}
        if truncate:
            found['from the base'] = self.trained(f'{name}_base', self.at(kept, self.chain.tune, None))
        return {key: metrics[headline(metrics)] for key, metrics in found.items()}

    def trained(self, name: str, cfg: Config) -> dict[str, float]:
        """Train by a config and return the metrics of its test."""
        return self.stages.test(name, cfg, self.stages.train(name, cfg))

    def cost(self, depths: list[tuple[int, ...]]) -> dict[tuple[int, ...], tuple[int, float]]:
        """Return multiply-accumulates and seconds of one test image at each depth, in turns in one process."""
        batch = first_images(self.chain.tune, 'test')
        forwards = {
            kept: partial(run_once, runs.build_model(self.at(kept, self.chain.tune, None)), batch) for kept in depths
        }
        seconds = latencies(forwards)
        return {kept: (count_macs(forward), seconds[kept]) for kept, forward in forwards.items()}

    def untuned_index(self) -> PruningIndex:
        """Score the frozen base, with the head that was trained on it, once."""
        path = self.stages.folder('untuned') / 'pruning_index.json'

        def work(observer: RunnerObserver) -> None:
            cfg = self.stages.settled('untuned', self.chain.baseline)
            cfg.custom_hooks = self.chain.tune.custom_hooks  # SLSHook's settings
            split, checkpoint = runs.default_split(self.chain.tune), self.stages.checkpoint('full')
            runs.score(cfg, checkpoint, split, path, observer.prepare, observer.on_batch)

        self.stages.once('score untuned', path, work)
        return PruningIndex.load(path)


def main() -> None:
    args = parse_args()
    if args.config is None:
        print('depths.py trains every depth, which takes hours: name a config, as in its first lines')
        return
    paths = args.config, args.pruned, args.baseline
    tune, pruned, baseline = runs.load_configs(paths, args.work_dir, args.cfg_options)
    truncated = args.depths if args.truncated is None else args.truncated
    work_dir = Path(tune.work_dir)
    with ChainProgress(terminal(), work_dir / 'console.log') as progress:
        chain = Chain(tune, work_dir, progress, pruned, baseline, chosen(args))
        chain.run()
        study = DepthStudy(chain)
        found = {kept: study.compare(kept, kept in truncated) for kept in args.depths}
        cost = study.cost(args.depths)
        index = PruningIndex.load(chain.index_path)
        curves = {'after tuning': index}
        if baseline is not None:
            curves = {'before tuning': study.untuned_index(), **curves}
    longest = max(seconds for _, seconds in cost.values()) if cost else 1.0
    rows = []
    for kept, row in found.items():
        metrics = [f'{row[key]:.3f}' if key in row else '-' for key in MODELS]
        macs, seconds = cost[kept]
        rows.append(('-'.join(map(str, kept)), *metrics, f'{macs / 1e9:.3f}', f'{seconds / longest:.2f}'))
    show('test metric by depth', ('blocks', *MODELS, 'GMACs', 'time'), rows)
    show_curves({when: index.scores for when, index in curves.items()}, dict.fromkeys(curves, index.scope))


if __name__ == '__main__':
    main()
