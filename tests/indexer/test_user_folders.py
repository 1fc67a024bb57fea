"""Users without a home, and a current folder that is gone: sentences, no tracebacks."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcsearch.errors import Cure, DcsearchError, IndexUnusable, UsageError
from indexer.evaluations import default_scratch_folder
from indexer.models.collection import Models
from indexer.models.model_name import SHIPPED
from indexer.photos.paths import absolute_path
from indexer.photos.scan import canonical_path
from indexer.store.filters import listed_paths
from indexer.store.open import default_index_path, is_there, open_store
from indexer.user_folders import cache_folder, data_folder
from tests.program import run


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the system does not know, without HOME."""

    def nobody(number: int) -> object:
        raise KeyError(number)

    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "DCSEARCH_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


@pytest.fixture
def nowhere(tmp_path: Path) -> Iterator[None]:
    """The current folder is gone."""
    before = os.getcwd()
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    yield
    os.chdir(before)


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_has_the_model_that_ships_and_names_an_index(tmp_path: Path) -> None:
    assert data_folder() is cache_folder() is None
    models = Models()
    assert models.names() == [SHIPPED]
    assert models.file_in_use() is None
    with pytest.raises(UsageError, match="cannot be"):
        models.use(SHIPPED)
    assert not default_scratch_folder().exists()
    for ask in (default_index_path, open_store, lambda: is_there(None)):
        with pytest.raises(IndexUnusable, match="there is no home folder") as caught:
            ask()
        assert caught.value.cure is Cure.SET_HOME
    with open_store(tmp_path / "index.db", create=True):
        pass
    assert not is_there("~/index.db")


@pytest.mark.usefixtures("homeless")
def test_its_commands_are_sentences(tmp_path: Path) -> None:
    open_store(tmp_path / "index.db", create=True).close()
    gone = {"XDG_DATA_HOME": "", "XDG_CACHE_HOME": ""}
    for command in (["status"], ["history"], ["query", "a dog"], ["text", "dog"], ["show", "a"]):
        outcome = run(*command, environment=gone)
        assert outcome.code == 3
        assert outcome.stderr == (
            "dcsearch: there is no home folder to keep an index in; name a file with --db, or set "
            "HOME\n"
        )
    assert run("status", "--db", tmp_path / "index.db", environment=gone).code == 0


@pytest.mark.usefixtures("nowhere")
def test_where_the_current_folder_is_gone_relative_paths_are_nowhere(tmp_path: Path) -> None:
    for ask in (absolute_path, canonical_path, open_store, is_there):
        with pytest.raises(
            DcsearchError, match=r"current folder is gone, so that \S+ is"
        ) as caught:
            ask("a.db")
        assert caught.value.cure is Cure.WHOLE_PATH
    with pytest.raises(DcsearchError, match="current folder is gone"):
        listed_paths(b"a.jpg\n")
    whole = str(tmp_path / "a.jpg")
    assert absolute_path(whole) == canonical_path(whole) == whole
    assert listed_paths(os.fsencode(whole)) == {whole}


@pytest.mark.usefixtures("nowhere")
def test_its_commands_are_sentences_too(tmp_path: Path) -> None:
    index = tmp_path / "index.db"
    open_store(index, create=True).close()
    for command in (
        *(["status", "--db", "index.db"], ["query", "a dog", "--db", "index.db"]),
        *(["show", "a.jpg", "--db", index], ["index", ".", "--db", index]),
        *(["index", ".", "--dry-run", "--db", index], ["describe", "a.jpg"]),
    ):
        outcome = run(*command)
        assert outcome.code == 2
        assert "the current folder is gone" in outcome.stderr
    assert run("status", "--db", index).code == 2  # torch could not be loaded there
