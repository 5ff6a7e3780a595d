"""What a chain ends with: its models side by side, the table, and the task folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from logging import WARNING
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log

from mmsls import runs
from mmsls.chain.state import RESULTS, TASK
from mmsls.chain.task import replace_task
from mmsls.cost.measuring import Row, first_images, measure, measure_training
from mmsls.deploy.task_folder import pack
from mmsls.files.writing import write_json
from mmsls.parallel.main_process import on_main_process


@dataclass
class Model:
    """A model of the chain: its line of the table, its config and its weights (None: as it is built)."""

    row: Row
    cfg: Config
    checkpoint: str | None = None


def measure_models(models: Sequence[Model], tune: Config) -> None:
    """Fill in what every model's row lacks, on the first images of a config; call it on every rank."""
    rows = [model.row for model in models]
    built = [runs.build_model(model.cfg, model.checkpoint).to(get_device()) for model in models]
    # Without a baseline, the head of the row `full` is random.
    timed = [row.name for row in rows if row.metrics]
    on_main_process(lambda: measure(rows, built, first_images(tune, 'test'), timed))
    # In every process: a loss may wait for what the other processes give.
    measure_training(rows, built, first_images(tune, 'train', 2))


def leave(models: Sequence[Model], work_dir: Path, index_path: Path) -> None:
    """Write the table, and what the last model stores as a folder that `TaskLibrary` opens.

    A complete checkpoint has no such part.
    """
    write_json([asdict(model.row) for model in models], work_dir / RESULTS[0])
    folder, last, name = work_dir / TASK, models[-1], work_dir.resolve().name or TASK
    assert last.checkpoint is not None
    try:
        replace_task(folder, partial(pack, last.cfg, last.checkpoint, index=index_path, name=name))
    except ValueError as error:
        print_log(f'{folder} is not written: {error}', 'current', WARNING)
