"""What a user can mend, as a tree of exceptions; everything else is a bug and keeps its traceback.

    DcsearchError
    ├── UsageError        a value the user gave cannot be used (phrase, path, option)
    │   ├── DataError     a dataset file is malformed
    │   └── MissingExtra  an optional package is not installed
    ├── IndexUnusable     no index, or one that cannot be read, written or used with the model
    ├── CheckpointError   a weights file is missing, damaged or foreign
    └── PhotoError        one photo cannot be used; the message is the reason

Every message is the whole story in one sentence and names the cure.
"""


class DcsearchError(Exception):
    """A problem that the user can mend; the message says what happened and the cure."""


class UsageError(DcsearchError):
    """A phrase, path or option that cannot be used."""


class DataError(UsageError):
    """A dataset file that is missing or malformed."""


class MissingExtra(UsageError):
    """An optional package that is not installed."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(
            f"{purpose} needs an extra; install it with: pip install 'dcsearch[{extra}]'"
        )


class IndexUnusable(DcsearchError):
    """An index that is missing, of another version or model, locked, or cannot be written."""


class CheckpointError(DcsearchError):
    """A weights file that is missing, damaged or not made by dcsearch."""


class PhotoError(DcsearchError):
    """One photo that cannot be used; the message is the reason, without the path."""
