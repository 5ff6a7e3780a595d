"""Run something under DDP, as one of the processes that torch.distributed.run starts.

`run CONFIG FOLDER` trains, or tests where there is a load_from, and every process leaves its weights in the folder;
`chain CONFIG FOLDER` runs the whole chain there; `criteria CONFIG CHECKPOINT FOLDER` leaves what the criteria see and
what Taylor makes of it; `tool SCRIPT ARGUMENT...` is the script's own command line; `strategies CONFIG FOLDER` trains
by MMEngine's Runner, by FlexibleRunner under DDP, resumes that, and tries FSDP.
"""

import os
import runpy
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import RUNNERS
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


def strategies(config: str, folder: str) -> None:
    wrapper = {'device_ids': None, 'broadcast_buffers': False}  # on the CPU DDP wants no device
    ddp = {'type': 'DDPStrategy', 'model_wrapper': {'type': 'MMDistributedDataParallel', **wrapper}}
    # Else FSDP asks for an accelerator.
    fsdp = {'type': 'FSDPStrategy', 'model_wrapper': {'type': 'MMFullyShardedDataParallel', 'device_id': 'cpu'}}
    for name, strategy in {'plain': None, 'ddp': ddp, 'resumed': ddp, 'fsdp': fsdp}.items():
        cfg = Config.fromfile(config)
        cfg.merge_from_dict({'work_dir': f'{folder}/{name}', 'experiment_name': name})
        cfg.merge_from_dict({'runner_type': 'FlexibleRunner', 'strategy': strategy} if strategy else {})
        if name == 'resumed':
            cfg.load_from, cfg.resume = f'{folder}/ddp/epoch_1.pth', True
        runner = RUNNERS.build(cfg) if strategy else Runner.from_cfg(cfg)
        try:
            runner.train()
        except ValueError as error:
            (Path(folder) / f'{name}{os.environ["RANK"]}.txt').write_text(str(error))


def tool(script: str, *arguments: str) -> None:
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name='__main__')


if __name__ == '__main__':
    # mmengine 0.10 asks for a CUDA device when it starts the process group itself, whatever the backend.
    torch.distributed.init_process_group('gloo')
    tasks = {'run': run, 'chain': chain, 'criteria': criteria, 'tool': tool, 'strategies': strategies}
    tasks[sys.argv[1]](*sys.argv[2:])
