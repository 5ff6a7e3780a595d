"""Run something under DDP, as one of the processes that torch.distributed.run starts.

`run CONFIG FOLDER` trains, or tests where there is a load_from, and every process leaves its weights in the folder;
`chain CONFIG FOLDER` runs the whole chain there; `criteria CONFIG CHECKPOINT FOLDER` leaves what the criteria see and
what Taylor makes of it; `tool SCRIPT ARGUMENT...` is the script's own command line.
"""

import os
import runpy
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner

from mmsls.chain.chain import Chain
from mmsls.criteria import Taylor
from mmsls.report.console_log import terminal
from mmsls.report.progress import ChainProgress
from mmsls.vtab.evidence import gather_evidence


def run(config: str, folder: str) -> None:
    cfg = Config.fromfile(config)
    runner = Runner.from_cfg(cfg)
    if not isinstance(runner.model, MMDistributedDataParallel) or runner.model.find_unused_parameters:
        raise SystemExit('this run proves nothing')
    if cfg.get('load_from'):
        runner.test()
    else:
        runner.train()
    torch.save(runner.model.module.state_dict(), Path(folder) / f'rank{os.environ["RANK"]}.pth')


def chain(config: str, folder: str) -> None:
    with ChainProgress(terminal()) as progress:
        rows = Chain(Config.fromfile(config), Path(folder) / 'chain', progress).run()
    torch.save(rows, Path(folder) / f'rank{os.environ["RANK"]}.pth')


def criteria(config: str, checkpoint: str, folder: str) -> None:
    evidence = gather_evidence(Config.fromfile(config), checkpoint, seed=3)
    found = {'features': evidence.features, 'labels': evidence.labels, 'taylor': Taylor(batches=2)(evidence)}
    torch.save(found, Path(folder) / f'rank{os.environ["RANK"]}.pth')


def tool(script: str, *arguments: str) -> None:
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name='__main__')


if __name__ == '__main__':
    # mmengine 0.10 asks for a CUDA device when it starts the process group itself, whatever the backend.
    torch.distributed.init_process_group('gloo')
    {'run': run, 'chain': chain, 'criteria': criteria, 'tool': tool}[sys.argv[1]](*sys.argv[2:])
