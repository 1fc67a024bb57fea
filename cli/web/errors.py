"""Errors: which status a problem is answered with, and in which words."""

from cli import cures
from cli.web.admission import Busy
from dcsearch.errors import (
    CheckpointError,
    Cure,
    DcsearchError,
    IndexAway,
    IndexUnusable,
    PhotoError,
    UsageError,
)

WORDS: dict[Cure, str] = {
    Cure.ASK: "say what a photo shows, such as: a dog",
    Cure.EXCLUDE: "ask for what photos should show, and exclude the rest by 'not'",
    Cure.WRITE_COUNT: "write a comparison and a whole number, such as >=2",
    Cure.COUNT_ONE: "count with one phrase alone",
    Cure.WRITE_AREA: "write a percentage above 0 and at most 100, such as 5%",
}


class NotFound(DcsearchError):
    """What a URL names is not there."""


class TooLarge(DcsearchError):
    """A request has more bytes than the server takes."""


class Refused(DcsearchError):
    """What was asked for may not be done by whoever asks, or from where they ask."""


class Conflict(DcsearchError):
    """It cannot be done as things are just now."""


RETRY_AFTER = 5  # seconds, of an index whose server is away


def retry_headers(error: Exception) -> dict[str, str]:
    """The header that says when to ask again, where the same may work then."""
    match error:
        case Busy():
            return {"Retry-After": str(error.retry_after)}
        case IndexAway():
            return {"Retry-After": str(RETRY_AFTER)}
    return {}


def status_of(error: Exception) -> int:
    """The HTTP status of a problem; 500 is a bug."""
    match error:
        case NotFound():
            return 404
        case Refused():
            return 403
        case TooLarge():
            return 413
        case IndexAway():
            return 503
        case Conflict() | IndexUnusable():
            return 409
        case UsageError() | PhotoError():
            return 422
        case Busy() | CheckpointError():
            return 503
    return 500


def sentence(error: Exception) -> str:
    """What happened and, behind a semicolon, what solves it."""
    if isinstance(error, DcsearchError) and error.cure in WORDS:
        return f"{error}; {WORDS[error.cure]}"
    if isinstance(error, DcsearchError):
        return cures.sentence(error)
    if isinstance(error, Busy):
        return str(error)
    return "an internal error, a bug in dcsearch; the server's terminal has the traceback"
