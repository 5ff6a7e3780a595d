"""Damaged files of every format: none runs, each is refused in one message or read, in seconds and its bytes."""

from __future__ import annotations

import json
import os
import resource
import time
import traceback
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from random import Random

import pytest
from formats import FORMATS
from mutating import CANARY

MEMORY = 2 << 30
"""Bytes that reading one small file may take, far above an honest one's need and far below what damaged ones claim."""
SECONDS = 10.0
LONGEST_MESSAGE = 3000


def read_all(name: str, folder: Path, seeds: range, report: int) -> None:
    """Damage and read one file a seed; write what came of each as a line."""
    held = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    kind = FORMATS[name]
    path, honest = folder / kind.name, kind.honest()
    kind.prepare(folder)
    with os.fdopen(report, 'w', buffering=1) as out:
        for seed in seeds:
            path.write_bytes(kind.damage(honest, Random(f'{name} {seed}')))
            start = time.perf_counter()
            try:
                kind.read(path)
                said, fault = 'read', ''
            except (ValueError, FileNotFoundError) as error:
                said, fault = 'refused', unclear(str(error), kind.named or kind.name)
            except BaseException as error:
                trace = ''.join(traceback.format_exception(error)[-3:])
                said, fault = 'other', f'{type(error).__name__}: {error}\n{trace}'[:1500]
            taken = time.perf_counter() - start
            if taken > SECONDS:
                fault = f'{taken:.1f} s; {fault}'
            out.write(json.dumps([seed, said, fault, taken]) + '\n')


def unclear(message: str, named: str) -> str:
    """Say what is wrong with an error's message; nothing if it names its file and is no book."""
    if named not in message:
        return f'names no {named}: {message[:300]}'
    return f'{len(message)} characters' if len(message) > LONGEST_MESSAGE else ''


def fuzz(name: str, folder: Path, count: int) -> tuple[Counter, list[str], float]:
    """Read damaged files in processes that may die; return counts (read, refused, ...), faults and the longest time."""
    done, faults, longest = Counter(), [], 0.0
    next_seed = 0
    while next_seed < count:
        ours, theirs = os.pipe()
        child = get_context('fork').Process(target=read_all, args=(name, folder, range(next_seed, count), theirs))
        child.start()
        os.close(theirs)
        with os.fdopen(ours) as lines:
            for line in lines:
                seed, said, fault, taken = json.loads(line)
                done[said] += 1
                longest, next_seed = max(longest, taken), seed + 1
                faults += [f'{name}, seed {seed}: {fault}'] if fault else []
        child.join()
        if child.exitcode != 0:
            done['crashed'] += 1
            faults.append(f'{name}, seed {next_seed}: the process died with {child.exitcode}')
            next_seed += 1
    return done, faults, longest


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """A file that exists once anything named the canary in earnest."""
    import mmsls.integrations.mmdet  # noqa: F401 (what the children need is imported once, here)

    trace, home = tmp_path / 'it_ran', tmp_path / 'path'
    home.mkdir()
    (home / f'{CANARY}.py').write_text(f'open({str(trace)!r}, "w").close()\ndef sing(*_): pass\nclass Bird: pass\n')
    monkeypatch.syspath_prepend(str(home))
    return trace


def check(name, tmp_path, trace, count, capsys):
    folder = tmp_path / 'svhn'
    folder.mkdir()
    done, faults, longest = fuzz(name, folder, count)
    with capsys.disabled():
        print(f'\n{name}: {count} damaged, {dict(done)}, executed {int(trace.exists())}, longest {longest:.2f} s')
    assert not trace.exists()
    assert not faults, '\n'.join([f'{len(faults)} faults', *faults[:5]])
    assert sum(done.values()) == count


@pytest.mark.parametrize('name', FORMATS)
def test_honest_files_are_read(name, tmp_path):
    folder = tmp_path / 'svhn'
    folder.mkdir()
    kind = FORMATS[name]
    kind.prepare(folder)
    (folder / kind.name).write_bytes(kind.honest())
    kind.read(folder / kind.name)


@pytest.mark.parametrize('name', FORMATS)
def test_200_damaged_files(name, tmp_path, trace, capsys):
    check(name, tmp_path, trace, 200, capsys)


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize('name', FORMATS)
def test_10_000_damaged_files(name, tmp_path, trace, capsys):
    check(name, tmp_path, trace, 10_000, capsys)


def test_the_damage_is_the_same_every_time():
    for kind in FORMATS.values():
        honest = kind.honest()
        assert kind.damage(honest, Random(1)) == kind.damage(honest, Random(1))
