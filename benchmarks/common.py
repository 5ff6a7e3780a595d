"""What every benchmark prints: the machine, the versions, a table."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import mmcv
import mmdet
import mmengine
import torch
from rich.console import Console
from rich.table import Table


def processor() -> str:
    """Return the processor's name where the system tells."""
    cpuinfo = Path('/proc/cpuinfo')
    names = [
        line.split(':', 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith('model name')
    ]
    return names[0] if names else platform.processor()


def machine() -> str:
    """Return one line: device, cores used, versions."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f'{processor()}, {os.cpu_count()} cores'
    versions = (
        f'torch {torch.__version__}, mmcv {mmcv.__version__}, mmdet {mmdet.__version__}, '
        f'mmengine {mmengine.__version__}'
    )
    return f'{device}; {torch.get_num_threads()} threads; {versions}'


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table and the machine it was measured on."""
    table = Table(title=title)
    for name in header:
        table.add_column(name, justify='left' if name == header[0] else 'right')
    for row in rows:
        table.add_row(*row)
    console = Console(width=120)
    console.print(table)
    console.print(machine(), highlight=False)
