"""Questions in addresses: read and written, said in words, shown as chips, asked once more."""

import shutil
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.web.chips import chips
from cli.web.past import past_question
from cli.web.questions import Asked, Place, parse_place, read_asked, round_box
from cli.web.sentences import question_sentence
from dcsearch.errors import UsageError
from dcsearch.question import Count, Relation, Term
from indexer import Index, PhotoFilter
from tests.cli.web.conftest import Serve
from tests.faults.trial import sentence
from tests.strategies import TEXTS

WHOLE = {
    "q": ["a dog", "2:a red ball"],
    "like": ["3:12@10,20.5,30,40", "u-abcd_-1"],
    "not": ["a cat"],
    "together": ["and"],
    "left_of": ["a man"],
    "overlaps": ["a tree"],
    "min_area": ["5%"],
    "min_score": ["-1.5"],
    "path": ["*/2024/*"],
    "after": ["2023-05"],
    "before": ["2024"],
    "camera": ["nikon", "canon"],
    "literal": ["1"],
    "exact": ["1"],
    "score": ["likelihood"],
    "per_image": ["2"],
}


def test_an_address_holds_the_whole_question() -> None:
    asked = read_asked(WHOLE)
    again = read_asked(parse_qs(urlsplit(asked.url()).query))
    assert again == asked
    assert hash(again) == hash(asked)
    assert asked.url("/photos/3", rank=2).startswith("/photos/3?q=a+dog&q=2:a+red+ball&")
    assert asked.url("/photos/3", rank=2).endswith("&rank=2")
    assert Asked().url() == "/"


def test_a_question_means_what_the_command_line_means() -> None:
    question = read_asked(WHOLE).question(["one", "two"])
    assert question.terms == (Term("a dog"), Term("a red ball", 2), Term("one", 3), Term("two"))
    assert question.together == "and"
    assert question.without == (Term("a cat"),)
    assert question.relations == (
        Relation("left_of", Term("a man")),
        Relation("overlaps", Term("a tree")),
    )
    assert (question.min_area, question.min_score) == (0.05, -1.5)
    assert Asked(q=("a dog",), count=">=2").question().count == Count(">=", 2)
    assert Asked(q=("a dog",), min_area="5").question().min_area == 0.05
    assert read_asked(WHOLE).filter() == PhotoFilter(
        path_glob="*/2024/*",
        after=datetime(2023, 5, 1),
        before=datetime(2024, 1, 1),
        camera=("nikon", "canon"),
    )


def test_what_says_nothing_is_passed_over() -> None:
    assert read_asked({"q": ["", " "], "path": [""], "utm_source": ["x"]}) == Asked()
    assert Asked().empty
    assert Asked(q=(" ",)).empty
    assert not Asked(like=("1",)).empty
    # One phrase alone is in no other region than itself.
    assert Asked(q=("a dog",), together="and").question().together == "photo"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("12", Place(photo=12)),
        ("12@1,2,3,4", Place(photo=12, box=(1, 2, 3, 4))),
        ("u-abcd@1,2,3.5,4", Place(upload="abcd", box=(1, 2, 3.5, 4))),
        ("u-abcd", Place(upload="abcd")),
    ],
)
def test_a_place_is_a_photo_or_an_upload_and_perhaps_a_box(text: str, place: Place) -> None:
    assert parse_place(text) == place
    assert str(place) == text


@pytest.mark.parametrize(
    "text", ["", "x", "/etc/passwd", "12:1,2,3,4", "12@1,2,3", "-1", "u-../x", "9" * 30, "12@"]
)
def test_anything_else_is_no_place(text: str) -> None:
    with pytest.raises(UsageError):
        parse_place(text)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"q": ["x"] * 17}, "'q' cannot be used"),
        ({"min_score": ["much"]}, "'min_score' cannot be used"),
        ({"together": ["x"]}, "'together' cannot be used"),
        ({"path": ["x" * 501]}, "'path' cannot be used"),
    ],
)
def test_a_value_that_cannot_be_is_named(parameters: dict[str, list[str]], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        read_asked(parameters)


FINITE = st.floats(allow_nan=False, allow_infinity=False)
PHRASES = st.lists(
    st.sampled_from(["a dog", "2:a red ball", "1:10:30", "-1:x"]) | TEXTS, max_size=3
)
PLACES = st.lists(st.sampled_from(["3:12@10,20.5,30,40", "u-abcd", "x"]) | TEXTS, max_size=2)
SOMETHING = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("q", "not", "left_of", "overlaps", "camera"), PHRASES),
        "like": PLACES,
        "together": st.lists(st.sampled_from(["photo", "and", "same_region", "or"])),
        "count": st.lists(st.sampled_from([">=2", "=1", "<1", "two\n"]) | TEXTS),
        "min_area": st.lists(st.sampled_from(["5%", "7.5", "0%", "\n%"]) | TEXTS),
        "min_score": st.lists(FINITE.map(str) | st.sampled_from(["nan", "1_0"])),
        "path": st.lists(st.sampled_from(["*/2024/*", " a& b=#"]) | TEXTS),
        **dict.fromkeys(("after", "before"), st.lists(st.dates().map(str) | TEXTS)),
        **dict.fromkeys(("literal", "exact"), st.lists(st.sampled_from(["1", "0", "on", "maybe"]))),
        "score": st.lists(st.sampled_from(["likelihood", "evidence", "x"])),
        "per_image": st.lists(st.integers(0, 21).map(str) | TEXTS),
    },
)
ANYTHING = st.dictionaries(st.sampled_from([*WHOLE, "count"]) | TEXTS, st.lists(TEXTS, max_size=3))


@given(SOMETHING | ANYTHING)
@settings(max_examples=300)
def test_any_parameters_whatever_are_read_or_refused(parameters: dict[str, list[str]]) -> None:
    try:
        asked = read_asked(parameters)
    except UsageError as error:
        sentence(error)
        return
    assert read_asked(parse_qs(urlsplit(asked.url()).query)) == asked
    for part in (lambda: asked.question(["x"] * len(asked.places)), asked.filter):
        try:
            part()
        except UsageError as error:
            sentence(error)


@given(
    st.builds(
        Asked,
        q=st.lists(st.text().filter(str.strip), max_size=16).map(tuple),
        like=st.lists(st.text().filter(str.strip), max_size=8).map(tuple),
        camera=st.lists(st.text().filter(str.strip), max_size=16).map(tuple),
        together=st.sampled_from(["photo", "and", "same_region"]),
        min_score=st.none() | FINITE,
        path=st.just("") | st.text(max_size=500).filter(str.strip),
        literal=st.booleans(),
        exact=st.booleans(),
        per_image=st.integers(1, 20),
    )
)
def test_any_question_comes_back_from_its_address(asked: Asked) -> None:
    assert read_asked(parse_qs(urlsplit(asked.url()).query)) == asked


@given(
    st.integers(0, 10**18 - 1) | st.text("abz_-09", min_size=4, max_size=64),
    st.none() | st.tuples(*[st.floats(0, 2_000_000)] * 4),
)
def test_any_place_comes_back_from_its_text(
    name: int | str, box: tuple[float, float, float, float] | None
) -> None:
    edges = None if box is None else round_box(box)
    number, upload = (name, None) if isinstance(name, int) else (None, name)
    place = Place(photo=number, upload=upload, box=edges)
    assert parse_place(str(place)) == place


def test_a_question_is_said_in_words() -> None:
    assert question_sentence(read_asked(WHOLE)) == (
        "Photos of “a dog” left of “a man” and overlapping “a tree”, with “a red ball” (weight 2) "
        "and what is like the region (weight 3) and what is like the region, each in a region of "
        "its own, in at least 5% of the photo, without “a cat”, scoring -1.5 or more, taken from "
        "2023-05 on, taken before 2024, with a camera called nikon or canon, at */2024/*"
    )
    assert question_sentence(Asked(q=("a",), count="x")) == ""


def test_chips_have_the_colours_of_the_boxes_and_say_what_they_can_be() -> None:
    made = chips(read_asked(WHOLE))
    assert [(chip.field, chip.label, chip.colour, chip.weight) for chip in made] == [
        ("q", "a dog", 0, 1),
        ("q", "a red ball", 1, 2),
        ("like", "like this region", 2, 3),
        ("like", "like this photo", 3, 1),
        ("left_of", "left of a man", 4, 1),
        ("overlaps", "overlapping a tree", 5, 1),
        ("not", "not a cat", None, 1),
    ]
    dog = Asked(q=("a dog", "a cat"))
    first = chips(dog)[0]
    assert first.without == "/?q=a+cat"
    assert {change.label: change.url for change in first.changes} == {
        "counts 0.5 times": "/?q=0.5:a+dog&q=a+cat",
        "counts once": "/?q=a+dog&q=a+cat",
        "counts 2 times": "/?q=2:a+dog&q=a+cat",
        "counts 3 times": "/?q=3:a+dog&q=a+cat",
        "photos must not show it": "/?q=a+cat&not=a+dog",
    }
    assert [change.label for change in first.changes if change.chosen] == ["counts once"]
    (excluded,) = (chip for chip in chips(Asked(q=("x",), without=("y",))) if chip.field == "not")
    assert excluded.changes[0].url == "/?q=x&q=y"
    # A phrase that begins as a weight does keeps one.
    assert chips(Asked(q=("1:10:30 on a clock",)))[0].changes[1].url == "/?q=1:10:30+on+a+clock"


def test_a_past_question_can_be_asked_again(shown: Path, tiny_checkpoint_path: Path) -> None:
    parameters = {name: value for name, value in WHOLE.items() if name not in ("like", "per_image")}
    asked = read_asked({**parameters, "count": [], "like": ["2:3@0,0,80,60"]})
    with Index.open(shown / "index.db", model=tiny_checkpoint_path) as index:
        example = index.example(index.facts([3])[3].path, (0, 0, 80, 60))
        index.query(
            asked.question([example.text]),
            examples={example.text: example},
            only=asked.filter(),
            score=asked.score,
            literal=asked.literal,
            exact=asked.exact,
        )
        past = index.history(1)[0]
        again = past_question(index, past)
    assert again is not None
    assert again.question(["x"]) == asked.question(["x"])
    assert again.filter() == asked.filter()
    assert again.places == asked.places
    assert (again.literal, again.exact, again.score) == (True, True, "likelihood")


def test_a_past_question_about_what_is_not_here_is_not_asked_again(
    shown: Path, tmp_path: Path, tiny_checkpoint_path: Path
) -> None:
    from tests.program import draw_photo

    draw_photo(tmp_path / "elsewhere.jpg")
    with Index.open(shown / "index.db", model=tiny_checkpoint_path) as index:
        index.query("a dog", like=[str(tmp_path / "elsewhere.jpg")])
        assert past_question(index, index.history(1)[0]) is None
        index.query("a dog", only=PhotoFilter(limit_to=frozenset(["/nowhere.jpg"])))
        assert past_question(index, index.history(1)[0]) is None
        index.query("a dog", "a cup")
        assert past_question(index, index.history(1)[0]) == Asked(q=("a dog", "a cup"))


def test_a_past_question_that_no_page_can_ask_is_not_asked_again(
    shown: Path, tiny_checkpoint_path: Path, serve: Serve, tmp_path: Path
) -> None:
    database = tmp_path / "index.db"
    shutil.copy(shown / "index.db", database)
    with Index.open(database, model=tiny_checkpoint_path) as index:
        index.query("a dog", only=PhotoFilter(path_glob="caf\udce9*"))
        assert past_question(index, index.history(1)[0]) is None
        index.query(*(f"a dog {number}" for number in range(17)))
        assert past_question(index, index.history(1)[0]) is None
    client = serve(database=str(database))
    for page in ("/", "/history"):
        assert client.get(page).status_code == 200
    assert "a dog 1 · a dog 2" in client.get("/history").text
