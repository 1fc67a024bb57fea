"""Paths as text: reversible for every file name there can be."""

import os
import sys
from pathlib import Path

import pytest

from indexer.photos.paths import MARK, path_text, printable, text_path, unicode_path

NAMES = {
    b"plain.jpg": "plain.jpg",
    "käse 照片.jpg".encode(): "käse 照片.jpg",
    b"two\nlines.jpg": "two\nlines.jpg",
    b"[/red]100%.jpg": "[/red]100%.jpg",
    b"caf\xe9.jpg": "caf\ufffde9.jpg",
    b"\xff\xfe": "\ufffdff\ufffdfe",
    "\ufffde9.jpg".encode(): "\ufffd\ufffde9.jpg",
    "\ufffd".encode() + b"\xe9": "\ufffd\ufffd\ufffde9",
    b"x" * 255: "x" * 255,
}


@pytest.mark.parametrize(("name", "text"), NAMES.items())
def test_a_name_becomes_text_and_its_own_path_again(name: bytes, text: str) -> None:
    path = os.fsdecode(name)
    assert path_text(path) == text
    assert text_path(text) == path
    assert os.fsencode(text_path(text)) == name
    text.encode()  # as a database stores it


def test_different_names_have_different_texts() -> None:
    values = [*range(0x21, 0x100, 5), *MARK.encode()]
    names = {bytes([first, second]) for first in values for second in values}
    names |= {MARK.encode() + name for name in names}
    texts = {path_text(os.fsdecode(name)): name for name in names}
    assert len(texts) == len(names)
    assert all(os.fsencode(text_path(text)) == name for text, name in texts.items())


def test_a_lone_surrogate_of_another_system_is_kept() -> None:
    assert text_path(path_text("a\ud801b")) == "a\ud801b"


def test_a_path_in_a_sentence_shows_what_cannot_be_printed() -> None:
    name = os.fsdecode(b"caf\xe9\n\x1b[31m.jpg")
    assert printable(Path("/photos") / name) == r"/photos/caf\xe9\n\x1b[31m.jpg"
    assert printable("/photos/käse [red].jpg") == "/photos/käse [red].jpg"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "euc_jp"])
@pytest.mark.parametrize(("name", "text"), NAMES.items())
def test_the_locale_does_not_decide_what_a_name_is(
    name: bytes, text: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsencode(path: str | os.PathLike[str]) -> bytes:
        return os.fspath(path).encode(encoding, "surrogateescape")

    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
    monkeypatch.setattr(os, "fsencode", fsencode)
    monkeypatch.setattr(os, "fsdecode", lambda data: data.decode(encoding, "surrogateescape"))
    path = os.fsdecode(name)
    assert path_text(path) == text
    assert text_path(text) == path
    assert os.fsencode(text_path(text)) == name
    assert unicode_path(path) == name.decode("utf-8", "surrogateescape")


def test_what_is_no_name_in_the_locale_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "latin-1")
    monkeypatch.setattr(os, "fsencode", lambda path: path.encode("latin-1", "surrogateescape"))
    assert path_text("照片.jpg") == "照片.jpg"
