"""The page in a real headless Chromium: it renders, says nothing on the console, and fits a phone."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsls.features.also import OtherCurve
from mmsls.report.origin import Origin
from mmsls.report.others import leave_others
from mmsls.report.page import write_report

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome', 'chrome'))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason='needs chromium on the PATH (apt-get install chromium)')
ROWS = [
    {'name': 'tuned', 'depths': [6], 'metrics': {'mIoU': 51.2}, 'macs': 10**9, 'latency': 0.02},
    {'name': 'retrained', 'depths': [4], 'metrics': {'mIoU': 53.0}, 'macs': 7 * 10**8, 'latency': 0.015},
]


def browse(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open a page; what it writes to the console is in stderr."""
    profile = page.with_name('profile')
    command = [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr', '--hide-scrollbars']
    done = subprocess.run(
        [*command, f'--user-data-dir={profile}', '--virtual-time-budget=5000', *options, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def told(page: Path, script: str) -> str:
    """Return what a script says of a page."""
    copy = page.with_name('copy.html')
    text = page.read_text(encoding='utf-8')
    listener = f'<script>addEventListener("load", () => {{ document.title = {script} }})</script></body>'
    copy.write_text(text.replace('</body>', listener), encoding='utf-8')
    return re.search(r'<title>([^<]*)', browse(copy, '--dump-dom').stdout)[1]


@pytest.fixture
def page(leave, index_of, maps_of):
    index = index_of(about={'warning': 'w' * 200, 'dataset': f'CocoDataset({"long" * 40}.json)'})
    names = ['红细胞', 'a name that has no end ' * 6, *(f'class {n}' for n in range(30))]
    folder = leave('a_run_with_a_long_name' * 4, index, maps_of(index, 200, names), rows=ROWS, costs=True)
    other = index_of((40, 50, 80, 90, 91, 90.5), unit='points', criterion='Probe', max_drop=1)
    leave_others(folder / 'pruning_index.json', index, [OtherCurve('Probe', other)])
    Origin('/a/long/path' * 20, (), '/x.pth', {'KNN': 'w' * 200}).save(folder / 'pruning_index.json', index)
    return write_report(folder)


def test_it_renders_in_light_and_dark_without_a_word_on_the_console(page):
    shades = []
    for scheme in (0, 1):  # dark, light
        picture = page.with_name(f'{scheme}.png')
        done = browse(
            page,
            f'--screenshot={picture}',
            '--window-size=1280,1600',
            f'--blink-settings=preferredColorScheme={scheme}',
        )
        assert 'CONSOLE' not in done.stderr
        pixels = np.asarray(Image.open(picture).convert('L'), dtype=float)
        assert pixels.shape == (1600, 1280)
        assert pixels.std() > 10  # something is there
        shades.append(np.median(pixels))
    assert shades[0] < 60 < 200 < shades[1]


def test_what_goes_wrong_on_a_page_would_be_seen(page):
    page.write_text(page.read_text().replace('let chosen', 'nowhere(); let chosen'))
    assert 'nowhere is not defined' in browse(page, '--dump-dom').stderr


def test_a_class_that_is_chosen_is_drawn_alone(page):
    script = (
        '(document.querySelector(".legend button").click(), [document.querySelectorAll(".lit canvas").length, '
        'document.querySelectorAll("button[aria-pressed=true]").length, document.querySelector("canvas").width > 0, '
        'document.querySelector("canvas").getContext("2d").getImageData(0, 0, 900, 900).data.some(x => x)].join())'
    )
    assert told(page, script) == '8,1,true,true'


def test_an_advice_shows_its_how_to(page):
    script = (
        '(document.querySelector(".try a").click(), '
        '[document.querySelectorAll(".how:target").length, document.querySelector(".how:target pre").innerText].join())'
    )
    assert told(page, script).startswith('1,mmsls ')


def test_it_prints(page):
    paper = page.with_name('page.pdf')
    dark = '--blink-settings=preferredColorScheme=0'
    done = browse(page, f'--print-to-pdf={paper}', '--no-pdf-header-footer', dark)
    assert 'CONSOLE' not in done.stderr
    content = paper.read_bytes()
    assert content.startswith(b'%PDF')
    assert 2 <= len(re.findall(rb'/Type /Page\b', content)) <= 12
    assert len(content) > 20_000


@pytest.mark.parametrize('width', [390, 1280])
def test_no_width_scrolls_sideways(page, width):
    frame = page.with_name('frame.html')
    source = html.escape(page.read_text(encoding='utf-8'), quote=True)
    frame.write_text(
        f'<meta charset="utf-8"><title>no</title><iframe id="f" width="{width}" height="800" style="border:0" '
        f'srcdoc="{source}"></iframe><script>addEventListener("load", () => {{ const inside = f.contentWindow; '
        'document.title = [inside.innerWidth, inside.document.documentElement.scrollWidth].join() })</script>',
        encoding='utf-8',
    )
    size = re.search(r'<title>([^<]*)', browse(frame, '--dump-dom', '--window-size=1400,900').stdout)[1]
    assert size == f'{width},{width}'
