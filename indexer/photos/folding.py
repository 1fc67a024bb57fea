"""Folding: which texts people take for the same, however their bytes differ.

Systems write accented letters in two forms: Linux and Windows mostly as one character (NFC), macOS
in file names as a letter and its accent (NFD). Nobody sees which.
"""

import unicodedata


def normalised(text: str) -> str:
    """The text in one Unicode form (NFC)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    """The text in one form and without the case of its letters: what is the same to a reader."""
    if text.isascii():
        return text.lower()
    return normalised(unicodedata.normalize("NFD", text).casefold())


def read_again(text: str) -> str:
    """Text that was UTF-8 and was read as Latin-1, as it was meant; any other text as it is."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text
