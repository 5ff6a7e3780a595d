"""Lets MMEngine find the configs of mmsls by name, in any tool that reads one: `_base_ = 'mmsls::demo/tune.py'`.

MMEngine (0.10) knows the packages that have configs from a table of its own, and builds everything in a config of
`package::` in the scope of that package. Configs of mmsls are for a toolbox, whose classes its own scope does not have.
So names of ours are resolved here, to files as if they lay beside the config that names them.

Nothing is imported for it: MMEngine is taught when it is imported. `mmsls.pth` in a wheel imports mmsls at the start of
Python, for tools that know nothing of it, such as the toolboxes' own `tools/train.py`.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False  # typing takes longer to import than all the rest, and every Python may import this
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

CONFIG, TABLE = 'mmengine.config.config', 'mmengine.config.utils'


class Teacher:
    """Teaches MMEngine's config module as soon as it has been imported, and gets out of the way."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the one module as Python would; leave all others to Python."""
        if fullname != CONFIG:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_teach(module: ModuleType) -> None:
                execute(module)
                teach(module)

            spec.loader.exec_module = execute_and_teach  # type: ignore[method-assign]
        return spec


def teach(module: Any) -> None:
    """Have `Config` resolve names of mmsls, and MMEngine's table know the package (`mmengine.hub.get_config`)."""
    theirs = module.Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        from mmsls.files.named_configs import OURS, named_config

        return (str(named_config(cfg_path)), None) if cfg_path.startswith(OURS) else theirs(cfg_path, filename)

    module.Config._get_cfg_path = staticmethod(get_cfg_path)
    sys.modules[TABLE].MODULE2PACKAGE.setdefault('mmsls', 'mmsls')


def install() -> None:
    """Teach MMEngine, now or when it is imported; once."""
    if CONFIG in sys.modules:
        teach(sys.modules[CONFIG])
    else:
        sys.meta_path.insert(0, Teacher())
