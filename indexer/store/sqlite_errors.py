"""What errors of SQLite's mean to the user."""

from dcsearch.errors import Cure, IndexUnusable

# Errors of SQLite's that have causes outside its file.
HINDERED = ("SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_READONLY")


def error_name(error: BaseException | None) -> str:
    """SQLite's name of an error, such as SQLITE_FULL; empty where it is none of SQLite's."""
    return str(getattr(error, "sqlite_errorname", ""))


def known_error(error: BaseException | None, location: str) -> IndexUnusable | None:
    """What an SQLite error means to the user; None for an internal error."""
    name = error_name(error)
    if name.startswith("SQLITE_FULL"):
        return IndexUnusable(
            f"the disk of the index {location} is full; what was finished is saved: free some "
            "space and run the same command again"
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM")):
        return read_only_error(location)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return IndexUnusable(
            f"the index {location} is locked by another program", Cure.WAIT_FOR_INDEX
        )
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return IndexUnusable(
            f"the index {location} is damaged ({one_line(error)}); put back a copy of it, or "
            "move it away and index the photos again"
        )
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_IOERR")):
        return IndexUnusable(
            f"the index {location} cannot be opened ({one_line(error)})", Cure.CHECK_INDEX_FILE
        )
    return None


def one_line(error: BaseException | None) -> str:
    """An error's message without line ends."""
    return " ".join(str(error).split())


def read_only_error(location: str) -> IndexUnusable:
    """The error of an index that cannot be written."""
    return IndexUnusable(f"the index {location} cannot be written", Cure.WRITABLE_INDEX)
