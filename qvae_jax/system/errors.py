"""Errors that are the user's to mend."""


class UserError(Exception):
    """A mistake the user can mend; its message is a whole sentence: what, where, how to mend it."""
