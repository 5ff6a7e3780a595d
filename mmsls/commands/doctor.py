"""Say what is installed, what is known not to work together, and what to do: one paste for a bug report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmsls import __version__
from mmsls.environment.checks import findings
from mmsls.environment.facts import gather
from mmsls.environment.telling import told


def parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(description=f'{__doc__} The exit code is 1 if something is wrong.')


def main(argv: Sequence[str] | None = None) -> int:
    parser().parse_args(argv)
    facts = gather(__version__)
    found = findings(facts)
    print(told(facts, found))
    return int(any(finding.wrong for finding in found))
