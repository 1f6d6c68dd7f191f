"""How far something is: a bar on a terminal, lines elsewhere, where a bar is one endless line."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

LINES_EVERY_S = 15.0


def progress_bar(
    description: str,
    *,
    total: int | None,
    unit: str,
    initial: int = 0,
    unit_scale: bool = False,
    over: Iterable | None = None,
    shown: bool = True,
) -> tqdm:
    """tqdm's bar on a terminal; elsewhere a line at times, and none of what is done sooner.

    over: what to iterate over, if not counted by hand; shown: false for a bar that shows nothing.
    """
    options = {
        "iterable": over,
        "desc": description,
        "total": total,
        "unit": unit,
        "initial": initial,
        "unit_scale": unit_scale,
        "disable": not shown,
    }
    if sys.stderr.isatty():
        return tqdm(**options, dynamic_ncols=True)
    line = "{desc}: {n_fmt} of {total_fmt} {unit}, {rate_fmt}, {remaining} left{postfix}"
    return tqdm(
        **options,
        file=_Lines(),
        bar_format=line,
        mininterval=LINES_EVERY_S,
        delay=LINES_EVERY_S,
    )


class _Lines:
    """Standard output for tqdm, with its redrawing turned into lines.

    Not standard error: there the reason of a failure stands alone.
    """

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line:
            print(line, flush=True)

    def flush(self) -> None:
        """Nothing is left to flush; tqdm asks for it."""
