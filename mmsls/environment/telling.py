"""An environment as the text that goes into a bug report."""

from __future__ import annotations

from collections.abc import Iterator

from mmsls.environment.checks import Finding
from mmsls.environment.facts import OTHERS, STACK, Facts
from mmsls.environment.stacks import stack_of

WIDTH = 14


def told(facts: Facts, found: list[Finding]) -> str:
    """Return what is installed, what is known of its stack, and what was found wrong, as lines of plain text."""
    lines = [f'{name:<{WIDTH}}{value}' for name, value in rows(facts)]
    lines += [f'known: {line}' for line in stack_of(facts).known]
    lines += [f'{"WRONG" if finding.wrong else "note"}: {finding.text}' for finding in found]
    wrong = sum(finding.wrong for finding in found)
    lines.append(f'{wrong} wrong' if wrong else 'nothing is wrong')
    return '\n'.join(lines)


def rows(facts: Facts) -> Iterator[tuple[str, str]]:
    """Return a name and a value for every line on what is installed."""
    yield 'mmsls', facts.mmsls
    yield 'Python', f'{facts.python} on {facts.system}'
    for name in OTHERS:
        yield name, facts.versions.get(name, '-')
    for module, names in STACK.items():
        yield module, ', '.join(f'{facts.versions[name]} ({name})' for name in names if name in facts.versions) or '-'
    yield 'stack', stack_of(facts).title
    yield 'mmcv ops', ops(facts)
    yield 'CUDA', f'{facts.built_for or "-"}, {facts.gpu or "no device"}'
    for folder, trouble in facts.caches.values():
        yield 'cache', f'{folder}{" (cannot be written to)" if trouble else ""}'


def ops(facts: Facts) -> str:
    """Say whether mmcv's ops are compiled and run."""
    if facts.version('mmcv') is None:
        return '-'
    if 'mmcv._ext' in facts.failures:
        return 'not compiled'
    return facts.ops or 'compiled; nms runs'
