"""What only PostgreSQL has of the tables: the words of captions, the edition's triggers, claims.

Called by the steps in `versions`; see there for what SQLite has in their place.
"""

from alembic import op

from indexer.store.caption_words import CAPTION_WORDS, CONFIGURATION

_KINDS = (
    "asciiword, word, numword, email, url, host, sfloat, version, hword_numpart, hword_part, "
    "hword_asciipart, numhword, asciihword, hword, url_path, file, float, int, uint"
)
EDITION_ROWS = 16  # so that writers seldom wait for each other's row
_RANDOM = "hashtextextended(gen_random_uuid()::text, 0)"


def is_used() -> bool:
    """Whether the tables are made in PostgreSQL."""
    return op.get_bind().dialect.name == "postgresql"


def create_claims() -> None:
    """The photos that indexers are at: a row holds until its moment, or until it is deleted."""
    op.execute(
        'CREATE TABLE claim (path text COLLATE "C" PRIMARY KEY, worker text NOT NULL, '
        "until timestamptz NOT NULL)"
    )
    op.execute("CREATE INDEX ix_claim_worker ON claim (worker)")


def create_captions() -> None:
    """The words of captions, by Porter's stems as SQLite has them, and no word left out."""
    op.execute(
        "CREATE TEXT SEARCH DICTIONARY dcsearch_porter (TEMPLATE = snowball, Language = porter)"
    )
    op.execute(f'CREATE TEXT SEARCH CONFIGURATION {CONFIGURATION} (PARSER = "default")')
    op.execute(
        f"ALTER TEXT SEARCH CONFIGURATION {CONFIGURATION} "
        f"ADD MAPPING FOR {_KINDS} WITH dcsearch_porter"
    )
    op.execute(f"CREATE INDEX ix_region_caption_words ON region USING gin ({CAPTION_WORDS})")


def create_editions() -> None:
    """Rows whose stamps change, one at a time, with the codes or the state of any photo.

    Each connection changes a row of its own, once in a transaction.
    """
    op.execute(
        f"INSERT INTO edition (id, stamp) SELECT n, {_RANDOM} FROM generate_series(1, "
        f"{EDITION_ROWS}) AS n"
    )
    op.execute(
        "CREATE FUNCTION dcsearch_new_edition() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF current_setting('dcsearch.edition', true) IS DISTINCT FROM "
        "pg_current_xact_id()::text THEN "
        f"UPDATE edition SET stamp = {_RANDOM} WHERE id = 1 + pg_backend_pid() % {EDITION_ROWS}; "
        "PERFORM set_config('dcsearch.edition', pg_current_xact_id()::text, true); "
        "END IF; RETURN NULL; END $$"
    )
    for event in ("INSERT", "DELETE", "UPDATE OF state, stamp"):
        op.execute(
            f"CREATE TRIGGER edition_{event.split()[0].lower()} AFTER {event} ON photo "
            "FOR EACH ROW EXECUTE FUNCTION dcsearch_new_edition()"
        )
