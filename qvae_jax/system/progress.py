"""Progress of long work: a bar on a terminal; elsewhere, where a bar is one endless line, lines."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

from qvae_jax.system.errors import plural

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
    """tqdm's bar on a terminal; elsewhere a line every LINES_EVERY_S, the first after as long.

    Args:
        description: what is being done.
        total: how many units there are; None where that is not known.
        unit: what is counted, such as "file".
        initial: how many were done before.
        unit_scale: whether large numbers are shortened, as in 3.00k.
        over: what to iterate over; None where the caller counts with update().
        shown: False for a bar that shows nothing.
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
    units = unit if unit_scale or total == 1 else plural(unit)
    line = (
        f"{{desc}}: {{n_fmt}} of {{total_fmt}} {units}, {{rate_fmt}}, {{remaining}} left{{postfix}}"
    )
    return tqdm(
        **options,
        file=_Lines(),
        bar_format=line,
        mininterval=LINES_EVERY_S,
        delay=LINES_EVERY_S,
    )


class _Lines:
    """Standard output for tqdm, with its redrawing turned into lines.

    Not standard error, which is kept for the reason of a failure.
    """

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line:
            print(line, flush=True)

    def flush(self) -> None:
        """Does nothing: write() has flushed already, but tqdm calls this."""
