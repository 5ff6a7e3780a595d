"""What is known not to work together: small functions of plain data, each of which says at most a few lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mmsls.environment.facts import OTHERS, Facts
from mmsls.environment.hosts import HOSTS, OFFICIAL_ENGINE, to_install
from mmsls.environment.stacks import forks, officials

PYTHONS = ((3, 10), (3, 13))
"""The first that works, and the first that does not."""
TORCH = (2, 1)
NEEDS_CPP20 = (2, 14)
"""From here on torch's headers ask for C++20, and mmcv's build for C++17 (seen with onedl-mmcv 2.3.6)."""
TIMM = (1, 0, 22)
"""The first whose Vision Transformers can be built without memory, which `PrunedTimmBackbone` does to learn of them."""
CHECKS_WEIGHTS = (2, 6)
"""From here on torch.load reads weights alone unless told otherwise."""
TOO_NEW_MMCV = (2, 2)
REFUSES_IT = {'mmdet': (3, 3, 0), 'mmsegmentation': (1, 2, 2)}
"""Official releases up to these do not import beside an mmcv from there on."""


@dataclass(frozen=True)
class Finding:
    """Something to say about an environment.

    Attributes:
        wrong: Whether something will not work; otherwise it is only said.
        text: What, and what to do.
    """

    wrong: bool
    text: str


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, for comparisons.

    Example:
        >>> numbers('2.13.0+cu130'), numbers('0.10.7'), numbers('2.14.0a0')
        ((2, 13, 0), (0, 10, 7), (2, 14, 0))
    """
    found = re.match(r'\d+(?:\.\d+)*', version)
    return tuple(map(int, found.group().split('.'))) if found else ()


def is_onedl(facts: Facts) -> bool:
    """Whether the maintained forks are what is installed, or to be."""
    return not officials(facts)


def check_python(facts: Facts) -> Iterator[Finding]:
    """Refuse versions of Python that the toolboxes do not run on."""
    first, end = PYTHONS
    if not first <= numbers(facts.python) < end:
        yield Finding(True, f'Python {facts.python} is not supported; use 3.10, 3.11 or 3.12')


def check_torch(facts: Facts) -> Iterator[Finding]:
    """See that torch is there and recent enough, and say where it runs."""
    found = facts.version('torch')
    if found is None:
        yield Finding(True, 'torch is not installed: pip install torch===2.13.0 torchvision==0.28.0')
    elif numbers(found) < TORCH:
        yield Finding(True, f'torch {found} is older than 2.1, which mmsls needs')
    elif not facts.gpu:
        why = 'finds no CUDA device' if facts.built_for else 'is built for the CPU alone'
        yield Finding(False, f'torch {found} {why}: everything runs on the CPU')


def check_requirements(facts: Facts) -> Iterator[Finding]:
    """See that what mmsls imports beside torch and the toolboxes is there; an install with --no-deps lacks it."""
    missing = [name for name in OTHERS if name != 'torch' and name not in facts.versions]
    if missing:
        yield Finding(True, f'{", ".join(missing)} not installed: pip install {" ".join(missing)}')


def check_timm(facts: Facts) -> Iterator[Finding]:
    """See that timm is recent enough for its Vision Transformers."""
    trouble = older_timm(facts.versions.get('timm'))
    if trouble:
        yield Finding(True, trouble)


def older_timm(version: str | None) -> str:
    """Say that timm is too old; an empty text if it is not, or is not there.

    Example:
        >>> older_timm('1.0.3')
        'timm 1.0.3 is older than 1.0.22, which mmsls.PrunedTimmBackbone needs: pip install -U timm'
        >>> older_timm('1.0.22')
        ''
    """
    if version is None or numbers(version) >= TIMM:
        return ''
    needed = '.'.join(map(str, TIMM))
    return f'timm {version} is older than {needed}, which mmsls.PrunedTimmBackbone needs: pip install -U timm'


def check_stacks(facts: Facts) -> Iterator[Finding]:
    """Refuse the forks and the official distributions in one environment: they overwrite each other's files."""
    onedl, official = forks(facts), officials(facts)
    if onedl and official:
        yield Finding(
            True,
            f'{", ".join(onedl)} and {", ".join(official)} are in one environment under the same import names, which '
            'breaks both; make a new environment with one of the two',
        )


def check_core(facts: Facts) -> Iterator[Finding]:
    """See that MMEngine and MMCV are there."""
    prefix = 'onedl-' if is_onedl(facts) else ''
    for module in ('mmengine', 'mmcv'):
        if facts.version(module) is None:
            yield Finding(True, f'{module} is not installed: pip install {prefix}{module}')


def check_hosts(facts: Facts) -> Iterator[Finding]:
    """Say which toolboxes are missing; all of them is too many."""
    missing = [module for module in HOSTS if facts.version(module) is None]
    for module in missing:
        yield Finding(len(missing) == len(HOSTS), to_install(module, is_onedl(facts)))


def check_imports(facts: Facts) -> Iterator[Finding]:
    """Tell of what is installed and cannot be imported; mmcv's ops have a check of their own."""
    for module, trouble in facts.failures.items():
        if module != 'mmcv._ext':
            yield Finding(True, f'{module} cannot be imported: {trouble}')


def check_ops(facts: Facts) -> Iterator[Finding]:
    """See that mmcv's ops were compiled, and run; MMDetection and MMSegmentation do not import without."""
    if facts.ops:
        yield Finding(True, f"mmcv's ops are there, but nms does not run: {facts.ops}")
    if 'mmcv._ext' not in facts.failures or facts.version('mmcv') is None:
        return
    needed = any(facts.version(module) is not None for module in ('mmdet', 'mmseg'))
    build = 'onedl-mmcv' if is_onedl(facts) else 'mmcv'
    yield Finding(
        needed,
        f'mmcv has no compiled ops ({facts.failures["mmcv._ext"]}); build it with torch already installed: '
        f'MMCV_WITH_OPS=1 pip install --no-build-isolation --no-cache-dir --force-reinstall --no-deps {build}',
    )


def check_compiling(facts: Facts) -> Iterator[Finding]:
    """Say that mmcv does not compile against the newest torch."""
    found = facts.version('torch')
    if found is not None and numbers(found) >= NEEDS_CPP20:
        lacks = facts.version('mmcv') is None or 'mmcv._ext' in facts.failures
        yield Finding(lacks, f'mmcv does not compile against torch {found} (2.14 and later); tested: torch===2.13.0')


def check_mmcv(facts: Facts) -> Iterator[Finding]:
    """Tell of an mmcv that is too new for the toolboxes beside it; pip, left alone, takes the newest."""
    found = facts.versions.get('mmcv')
    if found is None or numbers(found) < TOO_NEW_MMCV:
        return
    refuse = [
        f'{n} {facts.versions[n]}'
        for n, v in REFUSES_IT.items()
        if n in facts.versions and numbers(facts.versions[n]) <= v
    ]
    if refuse:
        yield Finding(
            True,
            f'{" and ".join(refuse)} cannot be imported beside mmcv {found}: MMCV_WITH_OPS=1 pip install '
            '--no-build-isolation mmcv==2.1.0',
        )


def check_loading(facts: Facts) -> Iterator[Finding]:
    """Tell of an MMEngine that cannot load its own checkpoints."""
    engine, found = facts.versions.get(OFFICIAL_ENGINE), facts.version('torch')
    if engine is None or found is None:
        return
    if numbers(engine) <= (0, 10, 7) and numbers(found) >= CHECKS_WEIGHTS:
        yield Finding(
            True,
            f'mmengine {engine} cannot load its own checkpoints under torch {found} (2.6 and later read weights '
            'alone); use onedl-mmengine and its kin, or torch below 2.6. Slim checkpoints of mmsls load',
        )


def check_cache(facts: Facts) -> Iterator[Finding]:
    """See that pre-trained weights can be kept."""
    for variable, (folder, trouble) in facts.caches.items():
        if trouble:
            yield Finding(
                True,
                f'nothing can be written to {folder}, where pre-trained weights are kept ({trouble}); set {variable} '
                'to a folder that can be written to',
            )


CHECKS = (
    check_python,
    check_torch,
    check_requirements,
    check_timm,
    check_stacks,
    check_core,
    check_hosts,
    check_imports,
    check_ops,
    check_compiling,
    check_mmcv,
    check_loading,
    check_cache,
)


def findings(facts: Facts) -> list[Finding]:
    """Return all that is to be said about an environment, what is wrong first."""
    found = [finding for check in CHECKS for finding in check(facts)]
    return sorted(found, key=lambda finding: not finding.wrong)
