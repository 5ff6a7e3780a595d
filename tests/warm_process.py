"""Processes that begin warm: forked from one that has imported the toolboxes, which takes seconds, and done no more.

Scripts run in them as `python SCRIPT ARGUMENT...` would run them: own memory, own streams, own exit code. What depends
on how an interpreter starts (its path, its options, what is imported when) is tested in fresh ones.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from quick_hosts import spare

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
    scripts = [Running(command, env) for command, env in zip(commands, more, strict=True)]
    until = time.monotonic() + timeout
    while any(script.code is None for script in scripts):
        if any(script.code for script in scripts) or time.monotonic() > until:
            for script in scripts:
                script.signal(signal.SIGKILL)
        time.sleep(0.02)
    code = next((script.code for script in scripts if script.code), 0)
    ended = [script.end() for script in scripts]
    return subprocess.CompletedProcess(
        list(commands), code or 0, ''.join(one.stdout for one in ended), ''.join(one.stderr for one in ended)
    )


class Running:
    """A script under way in a process of its own: to be watched, signalled, and waited for.

    Args:
        command: Script and arguments.
        env: What it has in its environment beside ours.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.command = [*command]
        self._folder = tempfile.TemporaryDirectory()
        self._said = [f'{self._folder.name}/{name}' for name in ('out', 'err')]
        given = self.command, {**os.environ, 'OMP_NUM_THREADS': '1', **(env or {})}, os.getcwd(), *self._said
        self._process = CONTEXT.Process(target=begin, args=given)
        self._process.start()

    @property
    def code(self) -> int | None:
        """The exit code, negative where a signal ended it; None while it runs."""
        return self._process.exitcode

    def signal(self, number: int) -> None:
        """Send a signal to the process, unless it is over."""
        if self._process.pid is not None and self.code is None:
            os.kill(self._process.pid, number)

    def end(self, timeout: float = 500) -> subprocess.CompletedProcess[str]:
        """Wait until it is over, and return its code and what it said.

        Raises:
            subprocess.TimeoutExpired: If it is not over after `timeout` seconds; it is killed.
        """
        self._process.join(timeout)
        if self.code is None:
            self._process.kill()
            raise subprocess.TimeoutExpired(self.command, timeout)
        out, err = (Path(path).read_text(errors='replace') if os.path.exists(path) else '' for path in self._said)
        return subprocess.CompletedProcess(self.command, self.code, out, err)


def begin(command: Sequence[str], env: Mapping[str, str], folder: str, out: str, err: str) -> None:
    """Become a script: in the new process."""
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout, sys.stderr = (open(number, 'w', buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    # What was started in the background by a shell ignores Ctrl-C, and so would this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    spare()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.argv = list(command)
    sys.path[0] = str(Path(command[0]).resolve().parent)
    runpy.run_path(command[0], run_name='__main__')
