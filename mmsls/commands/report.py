"""Write the report of a scoring run anew, or put several runs side by side in one page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmsls.cli import one_line_errors, path_argument
from mmsls.report.compare import write_comparison
from mmsls.report.page import write_report


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument('runs', nargs='+', type=path_argument, help='work directories of scoring runs, or index files')
    options.add_argument(
        '--out', type=path_argument, help='the page (default: report.html beside one index; compare.html for several)'
    )
    return options


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    if len(args.runs) == 1:
        print(f'wrote {write_report(args.runs[0], args.out)}')
    else:
        print(f'wrote {write_comparison(args.runs, args.out or "compare.html")}')
