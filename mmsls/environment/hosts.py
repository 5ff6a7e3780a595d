"""The toolboxes that mmsls plugs into, and what to install where one is missing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

OFFICIAL_ENGINE = 'mmengine'


@dataclass(frozen=True)
class Host:
    """One toolbox.

    Attributes:
        title: Its name.
        module: What Python imports.
        onedl: Distribution of the maintained fork.
        official: OpenMMLab's own distribution; never both in one environment.
    """

    title: str
    module: str
    onedl: str
    official: str


HOSTS = {
    host.module: host
    for host in (
        Host('MMDetection', 'mmdet', 'onedl-mmdetection', 'mmdet'),
        Host('MMSegmentation', 'mmseg', 'onedl-mmsegmentation', 'mmsegmentation'),
        Host('MMPretrain', 'mmpretrain', 'onedl-mmpretrain', 'mmpretrain'),
    )
}


def installed_version(distribution: str) -> str | None:
    """Return the version of a distribution, None where it is not installed.

    Example:
        >>> installed_version('no-such-distribution') is None
        True
    """
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def is_there(module: str) -> bool:
    """Whether Python finds a top-level module; it is not imported.

    Example:
        >>> is_there('json'), is_there('no_such_module')
        (True, False)
    """
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def to_install(module: str, onedl: bool | None = None) -> str:
    """Return one line on what to install for a toolbox.

    Args:
        module: What Python imports, a key of `HOSTS`.
        onedl: Whether the environment holds the maintained forks, or none; the official distributions and the forks
            would break each other. None looks.

    Example:
        >>> to_install('mmseg', onedl=True)
        'MMSegmentation (mmseg) is not installed: pip install onedl-mmsegmentation'
    """
    host = HOSTS[module]
    if onedl is None:
        onedl = installed_version(OFFICIAL_ENGINE) is None
    return f'{host.title} ({module}) is not installed: pip install {host.onedl if onedl else host.official}'


def need(module: str, what: str) -> None:
    """Refuse to go on without a toolbox.

    Args:
        module: What Python imports.
        what: What needs it.

    Raises:
        ValueError: If it is not installed, with what to install.
    """
    if not is_there(module):
        raise ValueError(f'{what}: {to_install(module)}')


def missing_module(error: BaseException) -> str | None:
    """Return the module that an import failed for want of; None where it failed for another reason.

    MMEngine (0.10) hides what is missing behind errors of its own where it reads `custom_imports`, and drops the name
    where it reads `_base_ = 'mmdet::...'`.

    Example:
        >>> missing_module(ModuleNotFoundError("No module named 'mmseg'", name='mmseg'))
        'mmseg'
        >>> missing_module(ModuleNotFoundError('mmsegmentation is not installed, please install ...'))
        'mmseg'
    """
    while str(error).startswith('Failed to import') and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__ or error
    if not isinstance(error, ModuleNotFoundError):
        return None
    if error.name:
        return error.name.partition('.')[0]
    named, said, _ = str(error).partition(' is not installed')
    modules = {name: host.module for host in HOSTS.values() for name in (host.module, host.onedl, host.official)}
    return modules.get(named, named) if said else None


def import_trouble(error: ImportError) -> str | None:
    """Return one line on an import that failed for want of a module; None for others, whose traceback is worth more.

    Example:
        >>> import_trouble(ModuleNotFoundError("No module named 'ftfy'", name='ftfy'))
        "the module 'ftfy' is not installed; `mmsls doctor` says what is"
        >>> import_trouble(ImportError('odd')) is None
        True
    """
    module = missing_module(error)
    if module is None:
        return None
    if module in HOSTS:
        return to_install(module)
    return f'the module {module!r} is not installed; `mmsls doctor` says what is'
