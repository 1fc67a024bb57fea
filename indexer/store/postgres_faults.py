"""What errors of PostgreSQL mean to the user: a sentence each, with what solves it."""

import re

from dcsearch.errors import Cure, DcsearchError, IndexAway, IndexUnusable, UsageError
from indexer.photos.paths import printable

# SQLSTATE -> what it means; the first that fits, by the beginning.
_AWAY = ("08", "57P01", "57P02", "57P03", "57P05")
_TAKEN = ("55P03", "40001", "40P01")
_DAMAGED = ("XX001", "XX002", "42P01", "42703")
_TOLD = 200  # letters of what the server said
_FIRST = re.compile(r"^(?:.*?failed:\s*)?(?:FATAL|ERROR):\s*", re.DOTALL)


def refused(error: BaseException, location: str, *, database: str) -> DcsearchError:
    """The error of a connection that could not be made.

    A server says why only in words, for which there is no code here, so that they are read.

    Args:
        location: of the index, for sentences.
        database: its name.
    """
    said = str(error)
    if "password authentication failed" in said:
        return IndexUnusable(
            f"the server of {location} does not take this password", Cure.GIVE_PASSWORD
        )
    if "no password supplied" in said:
        return IndexUnusable(f"the server of {location} asks for a password", Cure.GIVE_PASSWORD)
    if re.search(r'database ".*" does not exist', said):
        return IndexUnusable(
            f"there is no database for the index {location}", Cure.CREATE_DATABASE, name=database
        )
    if re.search(r"(role|user) .* does not exist|authentication failed|pg_hba.conf", said):
        return IndexUnusable(
            f"the server of {location} does not let this user in ({_reason(said)})",
            Cure.OTHER_DATABASE,
        )
    if "permission denied for database" in said:
        return IndexUnusable(
            f"this user may not use the database of the index {location}", Cure.GRANT_RIGHTS
        )
    if "invalid connection option" in said or re.search(r"invalid \S+ value", said):
        return UsageError(
            f"the URL of {location} has an option that cannot be used ({_reason(said)})"
        )
    return IndexAway(
        f"the server of {location} cannot be reached ({_reason(said)})", Cure.START_SERVER
    )


def failed(error: BaseException, location: str) -> DcsearchError | None:
    """The error of a statement that failed; None for a bug."""
    import psycopg

    if isinstance(error, psycopg.DataError) and "NUL" in str(error):
        return UsageError("no text or path of an index has a NUL character in it")
    state = getattr(error, "sqlstate", None) or ""
    lost = isinstance(error, psycopg.OperationalError) and not state
    if lost or state.startswith(_AWAY):
        return IndexAway(f"the connection to {location} was lost", Cure.START_SERVER)
    if state.startswith(_TAKEN):
        return IndexUnusable(
            f"the index {location} is locked by another program", Cure.WAIT_FOR_INDEX
        )
    if state == "42501":
        return IndexUnusable(
            f"this user may not use the tables of the index {location}", Cure.GRANT_RIGHTS
        )
    if state == "25006":
        return IndexUnusable(
            f"the index {location} cannot be written: its server only answers", Cure.OTHER_DATABASE
        )
    if state.startswith("53"):  # 53100 disk full, 53200 out of memory, 53300 too many connections
        return IndexAway(
            f"the server of {location} has no room left ({_reason(str(error))})", Cure.START_SERVER
        )
    if state.startswith(_DAMAGED):
        return IndexUnusable(
            f"the index {location} is damaged ({_reason(str(error))})", Cure.RESTORE_INDEX
        )
    return None


def _reason(said: str) -> str:
    """What a server or the driver said, in short: the last of the addresses that were tried."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Is the server", "Multiple", "DETAIL"))]
    text = _FIRST.sub("", (told or lines or [""])[0])
    return printable(text.rstrip(". "))[:_TOLD]
