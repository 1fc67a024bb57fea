"""Inflection: singulars and plurals."""

import pytest

from dcsearch.words.inflection import IRREGULAR, plural, singulars


@pytest.mark.parametrize(
    ("one", "several"),
    [
        ("dog", "dogs"),
        ("bus", "buses"),
        ("box", "boxes"),
        ("watch", "watches"),
        ("brush", "brushes"),
        ("pony", "ponies"),
        ("toy", "toys"),
        ("fireman", "firemen"),
        ("human", "humans"),
        ("knife", "knives"),
        ("child", "children"),
        ("sheep", "sheep"),
        ("fire engine", "fire engines"),
        ("police woman", "police women"),
        ("bread knife", "bread knives"),
    ],
)
def test_plurals_and_back(one: str, several: str) -> None:
    assert plural(one) == several
    assert one in singulars(several)


@pytest.mark.parametrize("term", ["dog", "grass", "as", "s", "", "a glass"])
def test_what_is_no_plural_has_no_singular(term: str) -> None:
    assert singulars(term) == ()


def test_the_longest_ending_is_tried_first() -> None:
    assert singulars("boxes") == ("box", "boxe")
    assert singulars("horses") == ("hors", "horse")


def test_irregular_plurals_are_those_of_one_noun() -> None:
    assert len(set(IRREGULAR.values())) == len(IRREGULAR)
