"""Names under which earlier releases had modules that have moved since; importing one still works, and warns."""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False  # typing takes longer to import than all the rest, and every Python may import this
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

MOVED = {
    'mmsls.block_scorer': 'mmsls.features.scorer',
    'mmsls.chain_configs': 'mmsls.chain.configs',
    'mmsls.command_line': 'mmsls.cli',
    'mmsls.complexity': 'mmsls.cost.complexity',
    'mmsls.measuring': 'mmsls.cost.measuring',
    'mmsls.pipeline': 'mmsls.chain.chain',
}


class Moved:
    """Finds the modules of `MOVED` where they are now."""

    def __init__(self) -> None:
        self.specs: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Take the earlier names, and no other."""
        return ModuleSpec(fullname, self) if fullname in MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module itself, not a copy: one class, whichever name it came by."""
        now = MOVED[spec.name]
        warnings.warn(f'{spec.name} is {now} now', DeprecationWarning, stacklevel=2)
        module = importlib.import_module(now)
        self.specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It ran when it was imported by its own name; give it back the spec that Python has just replaced."""
        assert module.__spec__ is not None
        module.__spec__ = self.specs[module.__spec__.name]


def install() -> None:
    """Look for the earlier names, once."""
    if not any(isinstance(finder, Moved) for finder in sys.meta_path):
        sys.meta_path.append(Moved())
