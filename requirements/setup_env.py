"""Build the project's virtual environment in the one order that works.

Standard library only, because it runs before anything is installed. Every step leaves a stamp in the environment, so an
interrupted set-up goes on where it stopped, and a step whose requirements changed runs again.

Order: torch, then mmcv (compiled against that torch, with its ops), then the rest. With build isolation, or without
torch, mmcv builds without ops and detection fails only later, at run time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import build_mmcv

HERE = Path(__file__).resolve().parent
MIN_PYTHON, MAX_PYTHON = (3, 10), (3, 12)
DISK_GIB = 8.0


def stop(message: str) -> None:
    """End with one line that says what is missing and what to do."""
    sys.exit(f'setup: {message}')


def check_python() -> None:
    """Refuse an interpreter that the tested wheels do not cover."""
    version = sys.version_info[:2]
    if not MIN_PYTHON <= version <= MAX_PYTHON:
        stop(
            f'Python {version[0]}.{version[1]} is not supported; run `make PYTHON=python3.11 ...` with Python 3.10, '
            '3.11 or 3.12'
        )


def check_compiler() -> None:
    """Refuse to start a compilation that cannot end."""
    candidates = [os.environ.get('CXX', ''), 'c++', 'g++', 'clang++']
    if not any(name and shutil.which(name.split()[0]) for name in candidates):
        stop(
            'no C++ compiler found (looked for $CXX, c++, g++, clang++); mmcv is compiled once. Install one, e.g. '
            '`apt-get install g++`'
        )


def check_disk(folder: Path) -> None:
    """Refuse to fill the disk half-way through the torch download."""
    free = shutil.disk_usage(folder).free / 2**30
    if free < DISK_GIB:
        stop(
            f'{free:.1f} GiB free in {folder}, {DISK_GIB:.0f} GiB needed (torch alone takes about 5); free some and '
            'run again'
        )


class Environment:
    """A virtual environment with one stamp per finished step.

    Args:
        folder: Where the environment lives.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / 'bin' / 'python'

    def create(self) -> None:
        """Create the environment unless it is there; one that was left half made is made anew."""
        if self.has_pip():
            return
        self.say('creating the virtual environment')
        made = subprocess.run(
            [sys.executable, '-m', 'venv', '--clear', str(self.folder)], capture_output=True, text=True
        )
        if made.returncode or not self.has_pip():
            stop(
                f'`{sys.executable} -m venv` failed; Debian and Ubuntu need `apt-get install python3-venv` for it, a '
                f'broken {self.folder} must be removed. It said: {(made.stdout + made.stderr).strip()[-300:]}'
            )

    def has_pip(self) -> bool:
        """Whether the environment's own pip runs."""
        command = [str(self.python), '-m', 'pip', '--version']
        return self.python.exists() and subprocess.run(command, capture_output=True).returncode == 0

    def is_done(self, name: str) -> bool:
        """Whether a step has ended, maybe with other requirements."""
        return self._stamp(name).exists()

    def _stamp(self, name: str) -> Path:
        return self.folder / f'.done-{name}'

    def say(self, text: str) -> None:
        """Print one progress line."""
        print(f'setup: {text}', flush=True)

    def pip(self, *args: str, **env: str) -> None:
        """Run pip inside the environment; a failure ends the set-up with its exit code."""
        command = [str(self.python), '-m', 'pip', '--disable-pip-version-check', 'install', '--quiet', *args]
        code = subprocess.run(command, env={**os.environ, **env}).returncode
        if code:
            stop(
                f'`pip install {" ".join(args)}` failed (exit {code}); the lines above say why. Run the same command '
                'again to go on from here'
            )

    def once(
        self,
        name: str,
        fingerprint: str,
        text: str,
        action: Callable[[], None],
        checks: tuple[Callable[[], None], ...] = (),
    ) -> None:
        """Run a step unless its stamp holds the same fingerprint."""
        stamp = self._stamp(name)
        if stamp.exists() and stamp.read_text() == fingerprint:
            return
        for check in checks:
            check()
        self.say(text)
        start = time.monotonic()
        action()
        stamp.write_text(fingerprint)
        self.say(f'  {name}: done in {time.monotonic() - start:.0f} s')


def fingerprint(*files: Path) -> str:
    """Hash the contents of files; a change makes a step run again."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def requirement_of(file: Path) -> str:
    """The one requirement of a file, without its comments."""
    return next(line for line in file.read_text().splitlines() if line.strip() and not line.startswith('#'))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument('folder', type=Path, help='where the virtual environment goes')
    made.add_argument(
        '--stack',
        choices=('onedl', 'openmmlab'),
        default='onedl',
        help='which distributions of the toolboxes: the maintained forks (default) or the official ones',
    )
    made.add_argument('--torch', type=Path, help='a file that names another torch than the tested one')
    return made


def main() -> None:
    args = parser().parse_args()
    folder = args.folder.resolve()
    files = HERE if args.stack == 'onedl' else HERE / args.stack
    torch, mmcv, tested = args.torch or files / 'torch.txt', files / 'mmcv.txt', files / 'tested.txt'
    common = HERE / 'common.txt'
    if not torch.is_file():
        stop(f'--torch: no file {torch}; name one such as requirements/torch.txt')
    check_python()
    folder.parent.mkdir(parents=True, exist_ok=True)
    env = Environment(folder)

    def install_mmcv() -> None:
        env.pip('-r', str(HERE / 'build.txt'))
        try:
            wheel = build_mmcv.wheel_of(env.python, requirement_of(mmcv), env.say)
        except build_mmcv.BuildError as error:
            stop(f'mmcv does not compile. Run the same command again to go on from here. {error}')
        env.pip(str(wheel), '-c', str(tested))
        code = subprocess.run([str(env.python), '-c', 'import mmcv.ops'], capture_output=True, text=True)
        if code.returncode:
            stop(
                f'mmcv was built without its ops: {code.stderr.strip().splitlines()[-1]}. Remove {wheel.parent} and '
                'try again'
            )

    if not env.is_done('mmcv'):
        check_compiler()  # before gigabytes are fetched
    if not env.is_done('torch'):
        check_disk(folder.parent)
    env.create()
    env.once(
        'torch',
        fingerprint(torch),
        'installing torch (about 5 GB on disk; a few minutes)',
        lambda: env.pip('-r', str(torch)),
        checks=(lambda: check_disk(folder),),
    )
    env.once(
        'mmcv',
        fingerprint(torch, HERE / 'build.txt', mmcv),
        'compiling mmcv with its ops: once, 3 minutes on 2 cores (the wheel is kept for later environments)',
        install_mmcv,
        checks=(check_compiler,),
    )
    env.once(
        'rest',
        fingerprint(tested, common),
        'installing the toolboxes',
        lambda: env.pip('-r', str(tested), '-r', str(common)),
    )
    env.once(
        'mmsls',
        fingerprint(HERE.parent / 'setup.py'),
        'installing mmsls itself',
        lambda: env.pip('--no-build-isolation', '--no-deps', '-e', str(HERE.parent)),
    )


if __name__ == '__main__':
    main()
