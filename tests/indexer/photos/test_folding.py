"""Which texts people take for the same."""

import pytest

from indexer.photos.folding import folded, normalised, read_again

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
