"""Processes that begin warm: forked from one that has imported the toolboxes, which takes seconds, and done no more.

Scripts run in them as `python SCRIPT ARGUMENT...` would run them: own memory, own streams, own exit code. What depends
on how an interpreter starts (its path, its options, what is imported when) is tested in fresh ones.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PRELOAD = ['mmdet.apis', 'mmseg.apis', 'mmpretrain.apis', 'onnx', 'mmsls.commands.run', 'mmsls.commands.vtab']
CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(PRELOAD)


def run_script(script: object, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, with more in its environment."""
    return run_scripts([[str(script), *map(str, arguments)]], [env])


def run_scripts(
    commands: Sequence[Sequence[str]], more: Sequence[Mapping[str, str]], timeout: float = 500
) -> subprocess.CompletedProcess[str]:
    """Run scripts side by side; where one fails the others are ended.

    Args:
        commands: Script and arguments of each.
        more: What each has in its environment beside ours.
        timeout: Seconds until all are ended.

    Returns:
        The first exit code that is not 0, and what all of them said.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = [(f'{folder}/{number}.out', f'{folder}/{number}.err') for number in range(len(commands))]
        processes = []
        for command, env, to in zip(commands, more, outputs, strict=True):
            given = command, {**os.environ, 'OMP_NUM_THREADS': '1', **env}, os.getcwd(), *to
            processes.append(CONTEXT.Process(target=begin, args=given))
            processes[-1].start()
        code = wait(processes, time.monotonic() + timeout)
        out, err = (
            ''.join(Path(path).read_text(errors='replace') for path in one) for one in zip(*outputs, strict=True)
        )
    return subprocess.CompletedProcess(list(commands), code, out, err)


def wait(processes: Sequence[multiprocessing.context.ForkServerProcess], until: float) -> int:
    """Wait for processes, and end those that are left when one failed or it took too long."""
    while any(process.is_alive() for process in processes):
        if any(process.exitcode for process in processes) or time.monotonic() > until:
            for process in processes:
                process.kill()
        time.sleep(0.02)
    return next((process.exitcode for process in processes if process.exitcode), 0) or 0


def begin(command: Sequence[str], env: Mapping[str, str], folder: str, out: str, err: str) -> None:
    """Become a script: in the new process."""
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout, sys.stderr = (open(number, 'w', buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.argv = list(command)
    sys.path[0] = str(Path(command[0]).resolve().parent)
    runpy.run_path(command[0], run_name='__main__')
