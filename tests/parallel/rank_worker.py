"""One of several processes of `tests/parallel/test_ranks.py`: share work out, fail in some, store what came back."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from mmsls.parallel.ranks import shared_out


def main(folder: Path, rank: int, world: int) -> None:
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )

    def work(items):
        mine.extend(items)
        return {item: [item, item**2] for item in items}

    def failing(items):
        if 1 in items:
            raise KeyError('one')
        return work(items)

    mine: list[int] = []
    results = [list(shared_out(work, range(count)).items()) for count in (7, 2, 0)]
    try:
        shared_out(failing, range(7))
    except KeyError as error:
        results.append([repr(error)])
    (folder / f'{rank}.json').write_text(json.dumps({'mine': mine, 'results': results}))
    dist.destroy_process_group()


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
