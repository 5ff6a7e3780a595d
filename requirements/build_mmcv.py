"""Compile mmcv with its ops in minutes, and keep the wheel for every later environment of the same kind.

Standard library only, like setup_env.py, whose step this is. Nearly all of the time of compiling one of mmcv's eighty
C++ files goes into torch's headers, so the files are compiled in a few units, each of which includes every sixth of
them: the same code, a fifth of the time. Files that define helpers of the same name never share a unit; one that
defines macros comes last in its own. Where a unit does not compile, the sources are compiled as published.

The wheel lies in ``$XDG_CACHE_HOME/mmsls/wheels`` (``~/.cache`` where that is not set), under a name made of what it
was compiled for: mmcv's requirement, torch, Python, the machine, and whether with CUDA.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

UNITS = 6
SOURCES = Path('mmcv/ops/csrc/pytorch')
HELPER = re.compile(
    r'^(?:struct|class) (\w+)\s*\{|^(?:template\s*<[^>]*>\s*|static\s+|inline\s+)+[\w:<>&*]+\s+(\w+)\(', re.MULTILINE
)
POLL_SECONDS, LINE_SECONDS = 1, 20
# What decides which machine code comes out, besides the versions.
BUILD_VARIABLES = ('FORCE_CUDA', 'TORCH_CUDA_ARCH_LIST', 'CXX', 'CFLAGS', 'CXXFLAGS')

DESCRIBE = (
    'import sys, sysconfig, torch; '
    'print(torch.__version__, sys.implementation.cache_tag, sysconfig.get_platform(), torch.cuda.is_available())'
)
"""What the environment's own interpreter says that it compiles for."""


class BuildError(RuntimeError):
    """A command of the build failed; the message ends with what it printed last."""


def group_sources(folder: Path) -> list[Path]:
    """Replace the C++ files under ``folder`` (an unpacked mmcv) by units that include them.

    Returns:
        The units. Every file of the CPU's and the bindings' folders is in exactly one.
    """
    sources = folder / SOURCES
    files = sorted([*sources.glob('*.cpp'), *sources.glob('cpu/*.cpp')], key=lambda file: (file.name, str(file)))
    units = []
    for number, members in enumerate(share_out(files, min(UNITS, len(files)))):
        unit = sources / f'unit_{number}.cpp'
        includes = []
        for file in sorted(members, key=defines_macros):
            moved = file.rename(file.with_suffix('.inc'))
            includes.append(f'#include "{moved.relative_to(sources).as_posix()}"\n')
        unit.write_text(''.join(includes))
        units.append(unit)
    return units


def share_out(files: Sequence[Path], number: int) -> list[list[Path]]:
    """Deal files out to so many units; one goes to the next unit in which nothing defines a helper of its names."""
    units: list[list[Path]] = [[] for _ in range(number)]
    taken: list[set[str]] = [set() for _ in range(number)]
    for place, file in enumerate(files):
        names = helpers(file)
        order = [(place + step) % number for step in range(number)]
        chosen = next((unit for unit in order if not names & taken[unit]), order[0])
        units[chosen].append(file)
        taken[chosen] |= names
    return units


def helpers(file: Path) -> set[str]:
    """Names of the structs and of the template, static and inline functions that a source file defines."""
    return {struct or function for struct, function in HELPER.findall(file.read_text())}


def defines_macros(file: Path) -> bool:
    """Whether a source file defines macros, which would reach into what is included after it."""
    return '#define' in file.read_text()


def cache_folder(requirement: str, described: str) -> Path:
    """Where the wheel of this kind lies, or will: a folder of the user's cache, else of the temporary files.

    Args:
        requirement: mmcv's line, such as ``onedl-mmcv==2.3.6``.
        described: What it is compiled for, in any words.
    """
    settings = [requirement, described, *(f'{name}={os.environ.get(name, "")}' for name in BUILD_VARIABLES)]
    name = hashlib.sha256('\n'.join(settings).encode()).hexdigest()[:16]
    for root in (os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', tempfile.gettempdir()):
        folder = Path(root) / 'mmsls' / 'wheels' / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise BuildError(f'neither the cache nor {tempfile.gettempdir()} can be written to; set XDG_CACHE_HOME')


def run(
    command: Sequence[str], env: dict[str, str], watch: Callable[[float], None] | None = None, cwd: Path | None = None
) -> None:
    """Run a command, its output kept for the case that it fails; ``watch(seconds)`` is called while it runs.

    Raises:
        BuildError: It failed.
    """
    start = time.monotonic()
    with tempfile.TemporaryFile('w+') as output:
        process = subprocess.Popen(command, env=env, cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
                if watch is not None:
                    watch(time.monotonic() - start)
        finally:
            if process.poll() is None:
                process.terminate()
        if process.returncode:
            output.seek(0)
            text = output.read()
            first = re.search(r'^.*: error:.*$', text, re.MULTILINE)
            raise BuildError(f'{" ".join(command)}:\n{text[-2000:]}\n{first.group().strip() if first else ""}')


class Progress:
    """A line every twenty seconds while objects come about under a folder."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self.say, self.next = folder, say, LINE_SECONDS

    def __call__(self, seconds: float) -> None:
        """Print a line if it is time for one, ``seconds`` after the start."""
        if seconds < self.next:
            return
        self.next = int(seconds) + LINE_SECONDS
        done = len(list(self.folder.rglob('*.o')))
        plans = list(self.folder.rglob('build.ninja'))
        total = plans[0].read_text().count(': compile') if plans else 0
        self.say(f'  mmcv: {done} of {total or "?"} objects after {seconds:.0f} s')


def build_wheel(python: Path, requirement: str, into: Path, say: Callable[[str], None]) -> None:
    """Fetch mmcv's sources, compile them, and put the wheel into a folder.

    Args:
        python: The interpreter of an environment that has torch and requirements/build.txt.
        requirement: mmcv's line.
        into: The folder; a wheel appears in it whole or not at all.
        say: Prints one line.

    Raises:
        BuildError: The sources can't be had, or don't compile in either way.
    """
    pip = [str(python), '-m', 'pip', '--disable-pip-version-check']
    env = {**os.environ, 'MMCV_WITH_OPS': '1', 'MAX_JOBS': os.environ.get('MAX_JOBS', str(os.cpu_count()))}
    with tempfile.TemporaryDirectory(prefix='mmsls-mmcv-') as name:
        work = Path(name)
        fetch = [*pip, 'download', '--no-deps', '--no-binary', ':all:', '--no-build-isolation', '-d', name, requirement]
        run(fetch, env)
        archive = next(work.glob('*.tar.gz'))
        for grouped in (True, False):
            tree, wheels = work / f'tree-{grouped}', work / f'wheels-{grouped}'
            shutil.unpack_archive(archive, tree)
            folder = next(tree.iterdir())
            if grouped:
                group_sources(folder)
            build = [*pip, 'wheel', '--no-deps', '--no-build-isolation', '-w', str(wheels), '.']
            try:
                run(build, env, Progress(folder, say), cwd=folder)
                break
            except BuildError as error:
                if not grouped:
                    raise
                say(f'  mmcv does not compile in {UNITS} units ({str(error).strip().splitlines()[-1]}); as published:')
        wheel = next(wheels.glob('*.whl'))
        part = into / f'{wheel.name}.part'
        shutil.copy(wheel, part)
        part.replace(into / wheel.name)


def wheel_of(python: Path, requirement: str, say: Callable[[str], None]) -> Path:
    """The wheel of mmcv for an environment: from the cache, else compiled now.

    Raises:
        BuildError: See :func:`build_wheel`.
    """
    asked = subprocess.run([str(python), '-c', DESCRIBE], capture_output=True, text=True)
    if asked.returncode:
        raise BuildError(f'torch does not import: {asked.stderr.strip()[-300:]}')
    folder = cache_folder(requirement, asked.stdout.strip())
    if not list(folder.glob('*.whl')):
        build_wheel(python, requirement, folder, say)
    else:
        say(f'  mmcv: the wheel in {folder} was compiled for this torch and Python')
    return next(folder.glob('*.whl'))
