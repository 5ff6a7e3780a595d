"""What to say where a run ends without the scores it was to have: why, and the line that makes up for it."""

from __future__ import annotations

import atexit
import logging
import shlex
import traceback
from pathlib import Path
from typing import Any, ClassVar

from mmengine.logging import MMLogger, print_log


class ScoreCommand:
    """The command that scores what a run saved, ready to paste.

    Args:
        runner: The run; nothing of its model is kept.
        split: Split that the hook would have scored.
        out_file: Index file, as the hook has it.
    """

    def __init__(self, runner: Any, split: str, out_file: str) -> None:
        # MMEngine writes the config as it is run into the work directory, overrides and all.
        name = Path(runner.cfg.filename).name if runner.cfg.filename else f'{runner.timestamp}.py'
        self.work_dir, self.config = Path(runner.work_dir), Path(runner.work_dir) / name
        self.split, self.out_file = split, out_file
        self.hub, self.loaded = runner.message_hub, runner._load_from

    def checkpoint(self) -> str | None:
        """Return the last checkpoint that was saved, else the best one, else the one that was loaded."""
        for name in ('last_ckpt', 'best_ckpt'):
            path = self.hub.get_info(name)
            if path is not None and Path(path).exists():
                return str(path)
        return self.loaded

    def __str__(self) -> str:
        checkpoint = self.checkpoint()
        parts = [
            *('mmsls', 'score', str(self.config), checkpoint or 'CHECKPOINT'),
            *('--split', self.split, '--out', str(self.work_dir / self.out_file)),
        ]
        return shlex.join(parts)


class BrokenOffNote:
    """Say when the program ends that a training was broken off before its blocks were scored, unless it is cancelled.

    Args:
        command: Of what the training saved; without a checkpoint nothing is said.
    """

    pending: ClassVar[dict[Path, BrokenOffNote]] = {}

    def __init__(self, command: ScoreCommand) -> None:
        self.command, self.logger = command, MMLogger.get_current_instance()
        earlier = self.pending.get(command.work_dir)
        if earlier is not None:  # this training goes on with that one, in the same program
            earlier.cancel()
        self.pending[command.work_dir] = self
        atexit.register(self.say)

    def cancel(self) -> None:
        """Say nothing."""
        self.pending.pop(self.command.work_dir, None)
        atexit.unregister(self.say)

    def say(self) -> None:
        """Log the note; called by the interpreter when it ends."""
        if self.command.checkpoint() is not None:
            print_log(
                'SLS: the training was broken off, and its blocks are not scored. Go on with it by --resume, or score '
                f'what it saved: {self.command}',
                self.logger,
                logging.WARNING,
            )


def say_unscored(failure: Exception, command: ScoreCommand) -> None:
    """Log why there are no scores; of what is no refusal but a bug, the traceback too."""
    trace = (
        ''
        if isinstance(failure, (ValueError, OSError))
        else '\n' + ''.join(traceback.format_exception(failure)).rstrip()
    )
    print_log(
        f'SLS: no index is written: {failure}{trace}\nSLS: the run itself is whole. To score what it saved: {command}',
        'current',
        logging.ERROR,
    )
