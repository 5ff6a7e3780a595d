"""Is the depth right? Four tasks on real images, several seeds, one setting: what a cut loses, and what gives it back.

    OMP_NUM_THREADS=1 python benchmarks/right_depth.py --tasks camvid bccd sign_digits digits --seeds 0 1 2 --work-dir
    work_dirs/right_depth

One phase after the other (`--phases`), each over all tasks and seeds:

    decided    tune; decide by the criterion bridged at max_drop 1 on `val`; test the cut model, and the bridged one
    truth      every depth bridged, nothing retrained, on `test`: what any other criterion's choice would have given
    criteria   the other criteria's curves of the tuned model on `val`
    retrained  the cut model retrained from its bridges; the full depth trained on for as long
    unbridged  the cut model retrained as it was cut
    refitted   the same with the head's last layer fitted anew
    distilled  from the bridges, the tuned model's features a second target
    first      the untuned base scored by a probe, and tuned once, at the depth that this keeps
    depths     the full truth: every depth of `--depths` retrained from its bridges

What is there is kept: an interrupted study goes on. `--tables` only prints what was found so far. `--record` adds it to
a small file and prints the tables of all that the file holds: with `--tables --record docs/results/right_depth.json`,
those of docs/results/depth.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import depth_findings
from depth_findings import Finding
from depth_study import TASKS, Study
from depth_tables import show_tables

from mmsls.report.console_log import terminal
from mmsls.report.progress import ChainProgress


def truths(study: Study, depths: list[int]) -> None:
    """Retrain every depth of some."""
    for kept in depths:
        study.depth(kept)


PHASES: dict[str, Callable[[Study, list[int]], None]] = {
    'decided': lambda study, _: study.decided(),
    'truth': lambda study, _: study.truth(),
    'criteria': lambda study, _: study.criteria(),
    'retrained': lambda study, _: study.retrained(),
    'unbridged': lambda study, _: study.unbridged(),
    'refitted': lambda study, _: study.refitted(),
    'distilled': lambda study, _: study.distilled(),
    'first': lambda study, _: study.first(),
    'depths': truths,
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tasks', nargs='+', choices=TASKS, default=[], help='which tasks; each takes about an hour')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--phases', nargs='+', choices=PHASES, default=['decided', 'truth', 'retrained', 'criteria'])
    parser.add_argument('--depths', nargs='+', type=int, default=[1, 3, 5, 7, 9, 11], help='of the phase depths')
    parser.add_argument('--budget', type=float, default=1.0, help='share of the trainings (default: all of them)')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/right_depth'))
    parser.add_argument('--tables', action='store_true', help='only print what was found so far')
    parser.add_argument('--record', type=Path, help='file of findings that these are added to')
    return parser.parse_args()


def record(studies: Iterable[Study], path: Path | None) -> list[Finding]:
    """Gather what was found, add it to a file where one is named, and return all of it."""
    found = [finding for study in studies if (finding := Finding.of(study))]
    if path is None:
        return found
    found = depth_findings.merged(depth_findings.load(path), found)
    depth_findings.save(found, path)
    return found


def main() -> None:
    args = parse_args()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    with ChainProgress(terminal(), args.work_dir / f'console_{"_".join(args.tasks)}.log') as progress:
        make = partial(Study, root=args.work_dir, progress=progress, budget=args.budget)
        studies = [make(task, seed) for seed in args.seeds for task in args.tasks]
        for phase in () if args.tables else args.phases:
            for study in studies:
                PHASES[phase](study, args.depths)
                record(studies, args.record)
    show_tables(record(studies, args.record))


if __name__ == '__main__':
    main()
