"""Which paths a glob matches."""

import glob as globbing
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.photos.path_glob import path_matcher, plain_part


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*.png", "/photos/a.png"),
        ("a.png", "/photos/a.png"),
        ("holiday/*", "/photos/holiday/a.png"),
        ("holiday/*", "/photos/holiday/day 1/a.png"),
        ("holiday/a.png", "/photos/holiday/a.png"),
        ("/photos/**", "/photos/holiday/a.png"),
        ("/photos/*", "/photos/holiday/a.png"),
        ("/photos/a.png", "/photos/a.png"),
        ("*holiday*", "/photos/my holidays/a.png"),
        ("?.png", "/photos/a.png"),
        ("[ab].png", "/photos/a.png"),
        ("[[]/red].png", "/photos/[/red].png"),
        ("*", "/photos/two\nlines.png"),
        ("lines*", "/photos/two\n/lines.png"),
    ],
)
def test_a_glob_matches(glob: str, path: str) -> None:
    assert path_matcher(glob)(path)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*.png", "/photos/a.PNG"),
        ("*.PNG", "/photos/a.png"),
        ("*.png", "/photos/a.png.jpg"),
        ("day/*", "/photos/holiday/a.png"),
        ("holiday", "/photos/holiday/a.png"),
        ("/holiday/*", "/photos/holiday/a.png"),
        ("?.png", "/photos/ab.png"),
        ("", "/photos/a.png"),
    ],
)
def test_a_glob_does_not_match(glob: str, path: str) -> None:
    assert not path_matcher(glob)(path)


NFC, NFD = "Müller Café", "Mu\u0308ller Cafe\u0301"


@pytest.mark.parametrize(
    "glob", [f"{NFC}/*", f"{NFD}/*", "Mu?ller*", "M?ller*", "*Caf?/?.jpg", "*é/a*"]
)
@pytest.mark.parametrize("path", [f"/p/{NFC}/a.jpg", f"/p/{NFD}/a.jpg"])
def test_the_unicode_form_does_not_matter(glob: str, path: str) -> None:
    both = path_matcher(glob)
    exact = "Mu?ller" not in glob or "u\u0308" in path  # what is exactly so matches as well
    assert both(path) is exact
    assert plain_part(glob) in path


@pytest.mark.parametrize(
    ("glob", "part"),
    [
        ("*.png", ".png"), ("holiday/*", "holiday/"), ("*", ""), ("a[bc]defgh", "a"),
        (f"{NFC}/x", "ller Caf"), (f"{NFD}/x", "ller Caf"), ("é", ""), ("caf\udce9*", "caf"),
    ],
)  # fmt: skip
def test_a_part_that_every_match_has(glob: str, part: str) -> None:
    assert plain_part(glob) == part


def test_case_matters_and_other_letters_do() -> None:
    assert not path_matcher(f"{NFC}/*")("/p/müller café/a.jpg")
    assert not path_matcher("Muller*")(f"/p/{NFD}")


# What globs have meanings for, and what is of several Unicode forms: the Kelvin sign is a K.
LETTERS = st.sampled_from("aeK;`/.*?[]!-^\n é\u0301\u0327\u0338\u212a\u037e가각\u11a8\udce9")
NAMES = st.text(LETTERS | st.characters(), min_size=1, max_size=12)


def forms(text: str) -> list[str]:
    """The text as it is, in NFC and in NFD."""
    return [text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))]


@given(NAMES)
def test_a_path_matches_itself_in_every_unicode_form(name: str) -> None:
    for written in forms(f"/{name}"):
        matches = path_matcher(globbing.escape(written))
        assert all(matches(path) for path in forms(f"/{name}"))


@st.composite
def globs_of_paths(draw: st.DrawFn) -> tuple[str, str]:
    """A path, and a glob that has wildcards in the place of parts of it."""
    path = glob = ""
    for part in draw(st.lists(NAMES, min_size=1, max_size=4)):
        path += part
        one = globbing.escape(draw(st.sampled_from(forms(part))))
        glob += draw(st.sampled_from([one, one, "*", "?" * len(part), "[!/]" * len(part)]))
    return path, glob


@given(globs_of_paths())
def test_every_path_that_matches_has_the_plain_part(drawn: tuple[str, str]) -> None:
    written, glob = drawn
    matches = path_matcher(glob)
    for path in forms(written):
        assert not matches(path) or plain_part(glob) in path


@given(st.text(LETTERS | st.characters()), NAMES)
def test_any_text_whatever_is_a_glob(glob: str, path: str) -> None:
    assert path_matcher(glob)(path) in (True, False)
    assert plain_part(glob) in glob


def test_what_is_a_letter_in_one_unicode_form_alone_is_no_plain_part() -> None:
    for glob, path in (("*.K2", "/a.\u212a2"), ("a;b", "/a\u037eb"), ("`x", "/\u1fefx")):
        assert path_matcher(glob)(path)
        assert plain_part(glob) in path
