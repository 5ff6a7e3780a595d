"""What a task folder tells people: the stub of a model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmsls.cost.complexity import ParameterCounts, summary_line


def model_card(name: str, backbone: Mapping[str, Any], counts: ParameterCounts, classes: Sequence[str]) -> str:
    """Return the stub of a model card; what only its author knows is left to fill in."""
    return f"""---
library_name: mmsls
---

# {name}

{summary_line(counts)}

| | |
|---|---|
| base | `{backbone['base_checkpoint']}` |
| its SHA-256 | `{backbone['base_sha256']}` |
| adapter | `{backbone['adapter']}` |
| blocks kept | {backbone['kept_depths']} of {backbone['depths']} |
| classes | {', '.join(map(str, classes))} |

The folder holds what this task adds to the base: adapters, heads, index. `tools/unpack.py` turns it into a config and a checkpoint.

- Data:
- Metric:
- Licence:
"""
