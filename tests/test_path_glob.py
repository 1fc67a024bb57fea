"""Which paths a glob matches."""

import pytest

from indexer.path_glob import path_matcher


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
