"""Which texts people take for the same."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.photos.folding import folded, normalised, read_again
from tests.strategies import TEXTS

NFC, NFD = "Éclair ü", "E\u0301clair u\u0308"


def test_either_unicode_form_is_the_same() -> None:
    assert NFC != NFD
    assert normalised(NFC) == normalised(NFD) == NFC
    assert folded(NFC) == folded(NFD) == folded("éCLAIR Ü")
    assert folded("Straße") == folded("STRASSE")
    assert folded("NIKON D90") == "nikon d90"
    assert normalised("NIKON") == "NIKON"
    assert normalised("caf\udce9") == folded("caf\udce9") == "caf\udce9"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Ã\x89clair", "Éclair"), ("Éclair", "Éclair"), ("plain", "plain"), ("caf\xe9", "café"),
        ("å°¼åº·", "尼康"), ("尼康", "尼康"),
    ],
)  # fmt: skip
def test_utf8_that_was_read_as_latin1_is_read_again(text: str, meant: str) -> None:
    assert read_again(text) == meant


MARKED = st.text(
    st.sampled_from("aKßſﬁİıΣςάᾳ\u0345\u0301\u0327\u212a가") | st.characters(), max_size=8
)
LETTERS = st.text(st.characters(categories=["Lu", "Ll", "Lt", "Lo", "Nd", "Zs"]), max_size=8)


@given(MARKED)
@settings(max_examples=300)
def test_folded_text_stays_as_it_is_and_has_no_form(text: str) -> None:
    for fold in (normalised, folded):
        once = fold(text)
        assert fold(once) == once
        assert {fold(unicodedata.normalize(form, text)) for form in ("NFC", "NFD")} == {once}


@given(LETTERS)
@settings(max_examples=300)
def test_what_differs_in_case_alone_is_folded_alike(text: str) -> None:
    for other in (text.upper(), text.lower(), text.title(), text.casefold()):
        if other.casefold() == text.casefold():
            assert folded(other) == folded(text)


@given(TEXTS)
def test_any_text_that_was_read_as_latin1_is_read_again(text: str) -> None:
    meant = text.encode(errors="replace").decode()
    assert read_again(meant.encode().decode("latin-1")) == meant
    assert isinstance(read_again(text), str)
