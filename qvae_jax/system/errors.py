"""Errors that are the user's to mend."""


class UserError(Exception):
    """A mistake the user can mend; its message is a whole sentence: what, where, how to mend it."""


def first_line(error: BaseException) -> str:
    """What an error says, or its type where it says nothing, short enough for a message."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    # TensorStore says first where, at length, and the reason last.
    return line if len(line) <= 200 else f"{line[:60]} … {line[-140:]}"
