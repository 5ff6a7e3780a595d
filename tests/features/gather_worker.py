"""One of two processes of `test_two_processes_keep_what_one_keeps`: fill a bank with a share, gather, store."""

from __future__ import annotations

import pickle
import sys
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from mmsls.features import FeatureBank


def main(folder: Path, rank: int) -> None:
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    results = []
    for max_samples, shares in pickle.loads((folder / 'cases.pkl').read_bytes()):
        bank = FeatureBank(max_samples=max_samples)
        bank.add(shares[rank])
        bank.gather()
        bank.gather()  # a second time changes nothing
        results.append(bank.to_arrays())
    (folder / f'{rank}.pkl').write_bytes(pickle.dumps(results))
    dist.destroy_process_group()


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]))
