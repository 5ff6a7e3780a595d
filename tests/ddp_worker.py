"""Run a config under DDP, started by torch.distributed.run: `ddp_worker.py CONFIG FOLDER run|chain`.

`run` trains, or tests where there is a load_from, and every process leaves its weights in the folder; `chain` runs the whole chain there.
"""

import os
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner

from mmsls.pipeline import Chain
from mmsls.report.progress import ChainProgress, terminal


def run(cfg: Config, folder: Path) -> None:
    runner = Runner.from_cfg(cfg)
    if not isinstance(runner.model, MMDistributedDataParallel) or runner.model.find_unused_parameters:
        raise SystemExit('this run proves nothing')
    if cfg.get('load_from'):
        runner.test()
    else:
        runner.train()
    torch.save(runner.model.module.state_dict(), folder / f'rank{os.environ["RANK"]}.pth')


def chain(cfg: Config, folder: Path) -> None:
    with ChainProgress(terminal()) as progress:
        rows = Chain(cfg, folder / 'chain', progress).run()
    torch.save(rows, folder / f'rank{os.environ["RANK"]}.pth')


if __name__ == '__main__':
    # mmengine 0.10 asks for a CUDA device when it starts the process group itself, whatever the backend.
    torch.distributed.init_process_group('gloo')
    {'run': run, 'chain': chain}[sys.argv[3]](Config.fromfile(sys.argv[1]), Path(sys.argv[2]))
