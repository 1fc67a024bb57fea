"""Examination: whether a file of SQLite's is sound and holds what it should, and simple repairs.

A repair loses nothing that could be read: it makes again what follows from the rest, forgets what
nothing refers to, and has photos described again whose regions are not what was written.
"""

from collections.abc import Callable, Iterator

from sqlalchemy import Connection

from dcsearch.errors import Cure, IndexUnusable
from indexer.finding import Finding, good, of_error, problem, repaired
from indexer.store.migrations.versions.v0002_cameras_and_captions import (
    CAPTION_TABLE,
    CAPTION_TRIGGERS,
    CAPTIONS_ENTER,
)
from indexer.store.reading import AT_ONCE
from indexer.store.records import DONE
from indexer.store.sql_store import SqlStore
from indexer.store.sqlite import SQLiteStore, lacking

Progress = Callable[[int, int], None]

_TOLD = 3  # things that are wrong with the file, in a sentence
_ONLY_INDEXES = ("missing from index", "wrong # of entries in index", "non-unique entry in index")

_CAPTIONS_LACK = ("no table caption_text", "no trigger caption_text")


def examine(store: SQLiteStore, *, repair: bool, on_progress: Progress) -> Iterator[Finding]:
    """What is found in an index, one check after another.

    Args:
        repair: mend what can be mended without losing anything.
        on_progress: told (photos read, photos to read).
    """
    try:
        yield _file(store, repair)
        yield _references(store, repair)
        yield _numbers(store, repair)
        yield from examine_photos(store, repair, on_progress)
        yield _captions(store, repair)
        yield examine_history(store)
    except IndexUnusable as error:
        yield of_error("index", error)


def _file(store: SQLiteStore, repair: bool) -> Finding:
    with store.connection() as connection:
        wrong = _wrong(connection)
    if not wrong:
        return good("file", "SQLite finds the file sound, with all its tables")
    if repair and all(any(each in line for each in _ONLY_INDEXES) for line in wrong):
        with store.connection(write=True) as connection:
            connection.exec_driver_sql("REINDEX")
        with store.connection() as connection:
            if not _wrong(connection):
                return repaired("file", f"{len(wrong)} entries of indexes were wrong; made again")
    if repair and all(line.startswith(_CAPTIONS_LACK) for line in wrong):
        with store.connection(write=True) as connection:
            _remake_captions(connection)
        with store.connection() as connection:
            if not _wrong(connection):
                return repaired("file", "the words of captions had lost a table; made again")
    told = "; ".join(wrong[:_TOLD])
    return problem("file", f"SQLite finds the file damaged ({told})", Cure.RESTORE_INDEX)


def _wrong(connection: Connection) -> list[str]:
    """What SQLite finds wrong with the file."""
    lines = connection.exec_driver_sql("PRAGMA integrity_check(100)").scalars()
    wrong = [" ".join(line.split()) for line in map(str, lines) if line != "ok"]
    return wrong + [f"no {what}" for what in lacking(connection)]


def _remake_captions(connection: Connection) -> None:
    """The full-text table of captions, which follows from the regions, with its triggers."""
    for name in CAPTION_TRIGGERS:
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
    connection.exec_driver_sql("DROP TABLE IF EXISTS caption_text")
    for statement in (CAPTION_TABLE, CAPTIONS_ENTER, *CAPTION_TRIGGERS.values()):
        connection.exec_driver_sql(statement)


def _references(store: SQLiteStore, repair: bool) -> Finding:
    """Rows that refer to rows that are not there."""
    with store.connection() as connection:
        orphans = _orphans(connection)
    if not orphans:
        return good("references", "every row refers to one that is there")
    told = ", ".join(f"{count:,} in {table}" for table, count in orphans.items())
    if not repair:
        return problem(
            "references", f"rows refer to others that are not there: {told}", Cure.REPAIR_INDEX
        )
    with store.connection(write=True) as connection:
        for statement in (
            *(
                f"DELETE FROM {table} WHERE photo_id NOT IN (SELECT id FROM photo)"
                for table in ("region", "region_codes")
            ),
            "DELETE FROM result WHERE query_id NOT IN (SELECT id FROM query)",
            "DELETE FROM result_region WHERE NOT EXISTS (SELECT 1 FROM result WHERE "
            "result.query_id = result_region.query_id AND result.rank = result_region.rank)",
            "UPDATE result SET photo_id = NULL WHERE photo_id NOT IN (SELECT id FROM photo)",
            "DELETE FROM region_codes WHERE model_id NOT IN (SELECT id FROM model)",
            "UPDATE photo SET state = 'new', model_id = NULL "
            "WHERE model_id NOT IN (SELECT id FROM model)",
        ):
            connection.exec_driver_sql(statement)
        left = _orphans(connection)
    if left:
        return problem("references", f"rows still refer to nothing: {left}", Cure.RESTORE_INDEX)
    return repaired("references", f"rows that referred to nothing are forgotten: {told}")


def _orphans(connection: Connection) -> dict[str, int]:
    found: dict[str, int] = {}
    for table, *_ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        found[table] = found.get(table, 0) + 1
    return found


def _numbers(store: SQLiteStore, repair: bool) -> Finding:
    """The numbers by which a cache sees what is late."""
    edition = "SELECT count(*) FROM edition WHERE typeof(stamp) = 'integer'"
    stamps = "SELECT count(*) FROM photo WHERE typeof(stamp) != 'integer'"
    with store.connection() as connection:
        lost = connection.exec_driver_sql(edition).scalar() != 1
        photos = int(connection.exec_driver_sql(stamps).scalar() or 0)
    if not lost and not photos:
        return good("numbers", "every photo has the number of its writing")
    told = f"the numbers of {photos:,} photos" + (" and of the index" if lost else "")
    if not repair:
        return problem("numbers", f"{told} cannot be read", Cure.REPAIR_INDEX)
    with store.connection(write=True) as connection:
        if lost:
            connection.exec_driver_sql("DELETE FROM edition")
            connection.exec_driver_sql("INSERT INTO edition (id, stamp) VALUES (1, random())")
        connection.exec_driver_sql(
            "UPDATE photo SET stamp = random() WHERE typeof(stamp) != 'integer'"
        )
    return repaired("numbers", f"{told} could not be read, and are drawn anew")


def examine_photos(store: SqlStore, repair: bool, on_progress: Progress) -> Iterator[Finding]:
    """Whether what is stored of photos is what was written; of any store that speaks SQL."""
    with store.reading() as index:
        done = [photo.id for photo in index.photos() if photo.state == DONE]
        nameless = set(index.damaged)
        damaged: set[int] = set()
        for start in range(0, len(done), AT_ONCE):
            some = done[start : start + AT_ONCE]
            damaged |= set(some) - index.regions(some).keys()
            on_progress(min(start + AT_ONCE, len(done)), len(done))
    with store.connection() as connection:
        without = "SELECT count(*) FROM region_codes WHERE sums IS NULL"
        unchecked = int(connection.exec_driver_sql(without).scalar() or 0)
        missing = connection.exec_driver_sql("SELECT id FROM photo WHERE state = 'missing'")
        nameless -= set(missing.scalars())  # nothing is left to be done for them
    if damaged:
        told = f"what is stored of {len(damaged):,} of {len(done):,} photos is not what was written"
        if repair:
            _change(store, "UPDATE photo SET state = 'new', model_id = NULL", damaged)
            told += "; they wait to be described again: index their folders"
        yield repaired("photos", told) if repair else problem("photos", told, Cure.REPAIR_INDEX)
    else:
        yield good("photos", f"{len(done):,} photos are as they were written")
    if nameless:
        told = f"the paths of {len(nameless):,} photos cannot be read"
        if repair:
            _change(store, "UPDATE photo SET state = 'missing'", nameless)
            told += "; they count as missing, and are found again as new photos"
        yield repaired("paths", told) if repair else problem("paths", told, Cure.REPAIR_INDEX)
    if unchecked:
        told = f"{unchecked:,} photos of an older version have no checksums"
        if repair:
            told = f"{_add_sums(store, done):,} photos of an older version got checksums"
        yield (
            repaired("checksums", told) if repair else problem("checksums", told, Cure.REPAIR_INDEX)
        )


def _add_sums(store: SqlStore, photo_ids: list[int]) -> int:
    """Give checksums to the photos that can be read and have none; how many."""
    count = 0
    for start in range(0, len(photo_ids), AT_ONCE):
        with store.writing() as index:
            count += index.add_sums(photo_ids[start : start + AT_ONCE])
    return count


def _change(store: SqlStore, statement: str, photo_ids: set[int]) -> None:
    numbers = sorted(photo_ids)
    with store.connection(write=True) as connection:
        for start in range(0, len(numbers), AT_ONCE):
            some = ",".join(map(str, numbers[start : start + AT_ONCE]))
            connection.exec_driver_sql(f"{statement} WHERE id IN ({some})")


def _captions(store: SQLiteStore, repair: bool) -> Finding:
    """Whether the words of all captions can be searched."""
    try:
        with store.connection() as connection:
            wrong = _captions_wrong(connection)
    except IndexUnusable as error:
        wrong = str(error)
    if not wrong:
        return good("captions", "the words of all captions can be searched")
    if not repair:
        return problem("captions", wrong, Cure.REPAIR_INDEX)
    with store.connection(write=True) as connection:
        connection.exec_driver_sql("INSERT INTO caption_text(caption_text) VALUES ('delete-all')")
        connection.exec_driver_sql(CAPTIONS_ENTER)
        left = _captions_wrong(connection)
    if left:
        return problem("captions", left, Cure.RESTORE_INDEX)
    return repaired("captions", f"{wrong}; the words of captions are entered anew")


def _captions_wrong(connection: Connection) -> str:
    regions = connection.exec_driver_sql("SELECT count(*) FROM region").scalar()
    entered = connection.exec_driver_sql("SELECT count(*) FROM caption_text_docsize").scalar()
    if regions != entered:
        return f"the words of {entered:,} captions are entered, of {regions:,}"
    return ""


def examine_history(store: SqlStore) -> Finding:
    """Whether past queries can be read; of any store that speaks SQL."""
    with store.reading() as index:
        total = index.status().queries
        readable = len(index.queries(total + 1))
    if readable == total:
        return good("history", f"{total:,} past queries can be read")
    return problem(
        "history", f"{total - readable:,} of {total:,} past queries cannot be read", Cure.ASK_AGAIN
    )
