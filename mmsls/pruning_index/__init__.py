"""The pruning index: the small file that says how a backbone is pruned, and how that was decided."""

from mmsls.pruning_index.file import FORMAT, MINOR, VERSION
from mmsls.pruning_index.index import PruningIndex

__all__ = ['FORMAT', 'MINOR', 'VERSION', 'PruningIndex']
