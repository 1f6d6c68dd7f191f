"""What the user is told: errors to mend, notices, and what their messages quote."""

from collections.abc import Sequence

NUM_NAMES_SHOWN = 3
LONGEST_QUOTE = 200  # characters


class UserError(Exception):
    """A mistake the user can mend; its message is a whole sentence: what, where, how to mend it."""


class Notice(UserWarning):
    """What can be done, but is hardly what was meant; its message is a sentence that names what."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing, for a message.

    Of a KeyError too, which says no more than the key.
    Beyond LONGEST_QUOTE characters, it is cut in the middle: TensorStore, for one, says first
    where, at length, and the reason last.
    """
    kind = type(error).__name__
    said = f"{kind}: {error}" if isinstance(error, KeyError) else str(error)
    line = (said.strip().splitlines() or [kind])[0]
    return line if len(line) <= LONGEST_QUOTE else f"{line[:60]} … {line[-140:]}"


def counted(number: int, noun: str) -> str:
    """`1 file`, `2 files`, `2 batches`: a number and a noun whose plural ends in s."""
    return f"{number} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """The plural of a noun whose plural ends in s."""
    return noun + ("es" if noun.endswith(("tch", "sh", "s", "x")) else "s")


def first_few(names: Sequence[str]) -> str:
    """The first NUM_NAMES_SHOWN names in quotes, and … where there are more, for a message."""
    shown = ", ".join(map(repr, names[:NUM_NAMES_SHOWN]))
    return shown + (", …" if len(names) > NUM_NAMES_SHOWN else "")
