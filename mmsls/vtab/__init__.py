"""VTAB-1k: its 19 tasks, and others in their published list-file layout (Zhai et al., arXiv 1910.04867)."""

from mmsls.vtab.dataset import VTAB1k
from mmsls.vtab.facts import GROUPS, facts_of, task_names

__all__ = ['GROUPS', 'VTAB1k', 'facts_of', 'task_names']
