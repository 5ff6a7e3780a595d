"""Run a config under DDP, started by torch.distributed.run: `ddp_worker.py CONFIG FOLDER`.

It trains, or tests where there is a load_from; every process leaves its weights in the folder.
"""

import os
import sys

import torch
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner

if __name__ == '__main__':
    config, folder = sys.argv[1:]
    # mmengine 0.10 asks for a CUDA device when it starts the process group itself, whatever the backend.
    torch.distributed.init_process_group('gloo')
    cfg = Config.fromfile(config)
    runner = Runner.from_cfg(cfg)
    if not isinstance(runner.model, MMDistributedDataParallel) or runner.model.find_unused_parameters:
        raise SystemExit('this run proves nothing')
    if cfg.get('load_from'):
        runner.test()
    else:
        runner.train()
    torch.save(runner.model.module.state_dict(), f'{folder}/rank{os.environ["RANK"]}.pth')
