"""What is PostgreSQL's own: who may open an index, what is wrong, what is shown; two at once."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cli.cures import sentence
from dcsearch.errors import (
    Cure,
    DcsearchError,
    IndexAway,
    IndexUnusable,
    MissingExtra,
    UsageError,
)
from indexer.health.doctor import examine
from indexer.store.open import open_store
from indexer.store.postgres import PostgresStore
from indexer.store.postgres_url import shown_url, without_secrets
from tests.postgres_fixtures import PASSWORD, Server
from tests.store_fixtures import assert_as_declared, index_status


def refusal(url: str, *, create: bool = True) -> DcsearchError:
    """The error of opening an index; its sentence names no password."""
    with pytest.raises(DcsearchError) as caught:
        open_store(url, create=create)
    told = sentence(caught.value)
    assert PASSWORD not in told
    assert "\n" not in told
    return caught.value


def made_user(server: Server, name: str) -> str:
    """A user with a password and no rights; its name."""
    if not server.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{name}'"):
        server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    return name


def test_the_migrations_make_the_tables_that_the_program_uses(postgres_server: Server) -> None:
    url = postgres_server.url(postgres_server.new_database())
    with open_store(url, create=True) as store, store.connection() as connection:  # type: ignore[attr-defined]
        assert_as_declared(
            connection,
            besides=lambda name, kind: name.startswith(("claim", "ix_claim", "ix_region_caption")),
        )


def test_two_that_open_an_empty_database_at_once_both_succeed(postgres_server: Server) -> None:
    url = postgres_server.url(postgres_server.new_database())
    program = (
        "import sys; from indexer.store.open import open_store\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "with open_store(sys.argv[1], create=True) as store, store.reading() as index:\n"
        "    print(index.status().photos)"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate()[0] for process in both] == ["0\n", "0\n"]
    assert [process.returncode for process in both] == [0, 0]


def test_many_threads_open_an_empty_database_at_once(postgres_server: Server) -> None:
    url = postgres_server.url(postgres_server.new_database())
    together = threading.Barrier(4)
    opened: list[str] = []

    def open_it() -> None:
        together.wait()
        with open_store(url, create=True) as store:
            opened.append(str(store.cache_folder))

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    assert len(set(opened)) == 1  # all name the cache by the number that the first one gave


def test_an_empty_database_is_no_index_until_one_is_made(postgres_server: Server) -> None:
    error = refusal(postgres_server.url(postgres_server.new_database()), create=False)
    assert (type(error), error.cure) == (IndexUnusable, Cure.MAKE_INDEX)
    assert "no index at postgresql://postgres@127.0.0.1" in str(error)


def test_no_server_no_database_wrong_password(
    postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")
    away = refusal(f"postgresql://me:{'s3cret'}@127.0.0.1:1/photos")
    assert isinstance(away, IndexAway)
    assert away.cure is Cure.START_SERVER
    assert "Connection refused" in str(away) or "refused" in str(away)
    nowhere = refusal("postgresql://no.such.host.invalid/photos")
    assert isinstance(nowhere, IndexAway)
    missing = refusal(postgres_server.url("nothing_here"))
    assert (type(missing), missing.cure) == (IndexUnusable, Cure.CREATE_DATABASE)
    assert "createdb --encoding UTF8 nothing_here" in sentence(missing)
    user = made_user(postgres_server, "reader")
    database = postgres_server.new_database()
    wrong = refusal(postgres_server.url(database, user=user, password=f"{PASSWORD}x"))
    assert (type(wrong), wrong.cure) == (IndexUnusable, Cure.GIVE_PASSWORD)
    none = refusal(postgres_server.url(database, user=user))
    assert (type(none), none.cure) == (IndexUnusable, Cure.GIVE_PASSWORD)
    stranger = refusal(postgres_server.url(database, user="stranger", password="x"))
    assert stranger.cure in (Cure.GIVE_PASSWORD, Cure.OTHER_DATABASE)


def test_a_password_comes_from_the_environment_or_a_file_too(
    postgres_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    user = made_user(postgres_server, "owner")
    database = postgres_server.new_database()
    postgres_server.execute(f"ALTER DATABASE {database} OWNER TO {user}")
    with open_store(
        postgres_server.url(database, user=user, password=PASSWORD), create=True
    ) as store:
        assert PASSWORD not in store.location
        assert index_status(store).location == store.location
        assert store.location.startswith("postgresql://owner@127.0.0.1")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with open_store(postgres_server.url(database, user=user)):
        pass
    monkeypatch.delenv("PGPASSWORD")
    file = tmp_path / "pgpass"
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    file.write_text(f"127.0.0.1:*:*:{user}:{escaped}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    with open_store(postgres_server.url(database, user=user)):
        pass


def test_options_of_the_url_reach_the_driver(postgres_server: Server) -> None:
    url = postgres_server.url(postgres_server.new_database())
    error = refusal(f"{url}?sslmode=require")  # which this server does not offer
    assert isinstance(error, IndexAway)
    assert "SSL" in str(error)
    assert type(refusal(f"{url}?no_such_option=1")) is UsageError


def test_who_may_not_make_tables_or_write_is_told_so(postgres_server: Server) -> None:
    user = made_user(postgres_server, "reader")
    database = postgres_server.new_database()
    url = postgres_server.url(database, user=user, password=PASSWORD)
    error = refusal(url)
    assert (type(error), error.cure) == (IndexUnusable, Cure.GRANT_RIGHTS)
    open_store(postgres_server.url(database), create=True).close()
    error = refusal(url)
    assert (type(error), error.cure) == (IndexUnusable, Cure.GRANT_RIGHTS)
    postgres_server.execute(
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}", database=database
    )
    with open_store(url, create=True) as store:
        assert store.read_only
        assert index_status(store).photos == 0
        with pytest.raises(IndexUnusable, match="may not write"):
            store.writer_lock()


def test_no_extension_is_needed_nor_the_right_to_create_one(postgres_server: Server) -> None:
    user = made_user(postgres_server, "owner")
    database = postgres_server.new_database()
    postgres_server.execute(f"ALTER DATABASE {database} OWNER TO {user}")
    open_store(postgres_server.url(database, user=user, password=PASSWORD), create=True).close()
    made = postgres_server.execute("SELECT extname FROM pg_extension", database=database)
    assert made == [("plpgsql",)]  # which every database has


def test_other_versions_and_other_programs(postgres_server: Server) -> None:
    name = postgres_server.new_index().rpartition("/")[2]
    postgres_server.execute("UPDATE alembic_version SET version_num = '9999'", database=name)
    error = refusal(postgres_server.url(name))
    assert error.cure is Cure.UPGRADE
    assert "newer dcsearch (tables 9999)" in str(error)
    postgres_server.execute("DELETE FROM alembic_version", database=name)
    assert refusal(postgres_server.url(name)).cure is Cure.RESTORE_INDEX
    other = postgres_server.new_database()
    postgres_server.execute("CREATE TABLE users (id int)", database=other)
    error = refusal(postgres_server.url(other))
    assert (error.cure, "another program's database" in str(error)) == (Cure.OTHER_DATABASE, True)
    # The tables of another program that uses alembic, too.
    postgres_server.execute("CREATE TABLE alembic_version (version_num text)", database=other)
    assert refusal(postgres_server.url(other)).cure is Cure.OTHER_DATABASE


def test_an_older_index_is_brought_up_to_date(postgres_server: Server) -> None:
    """The last step only adds a column: an index without it is one of the version before."""
    name = postgres_server.new_index().rpartition("/")[2]
    postgres_server.execute("ALTER TABLE region_codes DROP COLUMN sums", database=name)
    postgres_server.execute("UPDATE alembic_version SET version_num = '0004'", database=name)
    with open_store(postgres_server.url(name)) as store:
        assert index_status(store).photos == 0
    sums = "SELECT count(sums) FROM region_codes"
    assert postgres_server.execute(sums, database=name) == [(0,)]


def test_urls_of_other_kinds() -> None:
    for url, told in {
        "mysql://me:s3cret@host/photos": "in SQLite or PostgreSQL, not in mysql",
        "postgresql+asyncpg://me:s3cret@host/photos": "by the driver psycopg, not by asyncpg",
        "postgresql://me:s3cret@host:port/photos": "is not a database URL",
        "postgresql://me:s3cret@host": "names no database",
        "://me:s3cret@host/photos": "is not a database URL",
    }.items():
        with pytest.raises(UsageError, match=told) as caught:
            open_store(url)
        assert "s3cret" not in sentence(caught.value)


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=r"dcsearch\[postgres\]"):
        open_store("postgresql://me:s3cret@host/photos")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("photos.db", "photos.db"),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("postgresql+psycopg://me:pw@h/p", "postgresql+psycopg://me@h/p"),
        ("postgresql://me:p%40w@h:5/p?sslmode=require", "postgresql://me@h:5/p?sslmode=require"),
        ("postgresql://h/p?password=pw&user=me", "postgresql://h/p?user=me"),
        ("postgresql://me:a/b@h:x/p", "postgresql://h:x/p"),
    ],
)
def test_what_is_shown_of_a_url(text: str, shown: str) -> None:
    assert shown_url(text) == shown


def test_a_broken_url_is_shown_without_what_may_be_a_password() -> None:
    assert without_secrets("postgresql://me:a@b/c@h/p?password=x") == "postgresql://h/p"


def test_texts_with_nul_are_in_no_index(postgres_url: str) -> None:
    with open_store(postgres_url) as store:
        assert isinstance(store, PostgresStore)
        with pytest.raises(UsageError, match="NUL"), store.reading() as index:
            index.photo("/p/\0.jpg")


def test_the_doctor_looks_at_an_index_without_a_file(postgres_url: str) -> None:
    found = {finding.subject: str(finding.state) for finding in examine(postgres_url)}
    for subject in ("index", "tables", "photos", "history"):
        assert found[subject] == "good"
