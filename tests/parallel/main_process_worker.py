"""One of the processes of `tests/parallel/test_main_process.py`: work done in one, failing there, results stored."""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from mmsls.parallel.main_process import on_main_process


class Wordless(Exception):
    """Cannot be made again from what it says."""

    def __init__(self, what, where):
        super().__init__(f'{what} in {where}')


def main(folder: Path, rank: int, world: int) -> None:
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    marker = folder / 'marker'

    def fail(error: Exception) -> None:
        raise error

    def seen_by(work) -> list:
        try:
            return [work()]
        except Exception as error:
            return [type(error).__name__, str(error), str(error.__cause__)]

    if rank:
        time.sleep(1)  # the work waits until every process has looked
    before = marker.exists()
    told = [
        on_main_process(lambda: marker.write_text(str(rank)) and {'by': rank}),
        [before, marker.exists()],
        seen_by(lambda: on_main_process(lambda: fail(ValueError('alpha is 2.0')))),
        seen_by(lambda: on_main_process(lambda: fail(OSError(28, 'No space left on device', '/full')))),
        seen_by(lambda: on_main_process(lambda: fail(Wordless('a bug', 'a place')))),
        on_main_process(lambda: 'goes on'),
    ]
    (folder / f'{rank}.json').write_text(json.dumps(told))
    dist.destroy_process_group()


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
