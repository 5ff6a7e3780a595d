"""The pictures of README and docs, from the reports of the study that `right_depth.py` runs.

    python benchmarks/pictures.py work_dirs/right_depth

`depth.png`: the curve of every task, seed 0, as its report draws it. `report.png`, `report_phone.png`: the top of the
road scenes' report in a headless Chromium, if one is on the PATH.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from depth_study import TASKS
from matplotlib.figure import Figure

from mmsls.pruning_index import PruningIndex
from mmsls.report.page import write_report
from mmsls.report.score_curve import Paint, plot_curve, unit_of

FIGURES = Path(__file__).resolve().parents[1] / 'docs' / 'results' / 'figures'
TITLES = {
    'camvid': 'road scenes',
    'bccd': 'blood cells',
    'sign_digits': 'sign digits',
    'digits': 'handwritten digits',
}
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
VIEWS = {'report.png': '1120,900', 'report_phone.png': '400,860'}
"""Width and height of a screenshot, in pixels."""


def draw_tasks(indexes: dict[str, PruningIndex], path: Path) -> None:
    """Draw the curves of several tasks side by side."""
    figure = Figure(figsize=(3.1 * len(indexes), 2.7), layout='constrained')
    panels = figure.subplots(1, len(indexes), squeeze=False)[0]
    for axes, (task, index) in zip(panels, indexes.items(), strict=True):
        plot_curve(axes, index, Paint())
        kept, of = sum(index.kept_depths), sum(index.foundation.depths)
        axes.set_title(f'{TITLES[task]}: {kept} of {of} blocks', fontsize=10)
        axes.set(xlabel='blocks kept, the rest bridged', ylabel=unit_of(index).partition(',')[0])
        axes.xaxis.label.set_size(8)
        axes.yaxis.label.set_size(8)
    figure.savefig(path, dpi=150)


def photograph(run: Path, browser: str, folder: Path) -> list[Path]:
    """Write the report of a run anew, and take screenshots of its top."""
    with tempfile.TemporaryDirectory() as profile:
        page = write_report(run, Path(profile) / 'report.html')
        for name, size in VIEWS.items():
            options = ['--headless', '--no-sandbox', '--hide-scrollbars', '--blink-settings=preferredColorScheme=1']
            place = [f'--user-data-dir={profile}', f'--window-size={size}', f'--screenshot={folder / name}']
            subprocess.run([browser, *options, *place, page.as_uri()], check=True, capture_output=True)
    return [folder / name for name in VIEWS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('study', type=Path)
    parser.add_argument('--out', type=Path, default=FIGURES)
    args = parser.parse_args()
    folders = {task: args.study / f'{task}_0' for task in TASKS}
    indexes = {
        task: PruningIndex.load(folder / 'pruning_index.json')
        for task, folder in folders.items()
        if (folder / 'pruning_index.json').exists()
    }
    args.out.mkdir(parents=True, exist_ok=True)
    draw_tasks(indexes, args.out / 'depth.png')
    made = [args.out / 'depth.png']
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser and 'camvid' in indexes:
        made += photograph(folders['camvid'], browser, args.out)
    print('\n'.join(f'wrote {path}' for path in made))
    if not browser:
        print('no Chromium on the PATH: no screenshots')


if __name__ == '__main__':
    main()
