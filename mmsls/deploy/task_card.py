"""What a task folder tells people: the stub of a model card."""

from __future__ import annotations

from collections.abc import Sequence

from mmsls.cost.complexity import ParameterCounts, summary_line
from mmsls.pruning_index.foundation import Foundation


def model_card(name: str, foundation: Foundation, counts: ParameterCounts, classes: Sequence[str]) -> str:
    """Return the stub of a model card; what only its author knows is left to fill in."""
    which = f': (stage, block) {", ".join(map(str, foundation.kept_blocks))}' if foundation.kept_blocks else ''
    return f"""---
library_name: mmsls
---

# {name}

{summary_line(counts)}

| | |
|---|---|
| base | `{foundation.base_checkpoint}` |
| its SHA-256 | `{foundation.base_sha256}` |
| adapter | `{foundation.adapter}` |
| blocks kept | {list(foundation.kept_depths)} of {list(foundation.depths)}{which} |
| classes | {', '.join(map(str, classes))} |

The folder holds what this task adds to the base: adapters, heads, index. `mmsls unpack` turns it into a config and \
a checkpoint.

- Data:
- Metric:
- Licence:
"""
