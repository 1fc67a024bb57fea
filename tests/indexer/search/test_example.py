"""Regions as questions: which region a box means, and what is found like it."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from dcsearch.alignment import align
from dcsearch.checkpoint.header import CheckpointHeader, read_header
from dcsearch.errors import UsageError
from dcsearch.question import Question, Term
from dcsearch.scoring.phrase import read_phrase
from dcsearch.scoring.region_likeness import CONCENTRATION
from indexer import Index
from indexer.search.example import Example, find_example, parse_box, parse_example
from indexer.search.options import SearchOptions
from indexer.search.searcher import Searcher
from indexer.store.filters import PhotoFilter
from indexer.store.open import open_store
from indexer.store.records import MISSING
from indexer.store.schema import QUERY
from indexer.store.sqlite import SQLiteStore
from indexer.store.sqlite_file import open_file
from tests.caption_fixtures import HEIGHT, WIDTH, Spoken, speak
from tests.indexer_fixtures import new_index
from tests.program import draw_photo
from tests.search_fixtures import (
    Found,
    Regions,
    assert_same,
    found,
    set_state,
    some_photos,
    some_regions,
    write,
)

LEFT, RIGHT = Spoken("a bus", (0, 0, 80, 60)), Spoken("a tree", (80, 60, 160, 120))
LARGE = Spoken("a street", (10, 20, 160, 120))  # 15,000 of 19,200 pixels


# what is asked


def test_a_box_is_four_numbers() -> None:
    assert parse_box("10,20,200.5,180") == (10, 20, 200.5, 180)
    assert parse_box(" -1, .5 ,2., +3 ") == (-1, 0.5, 2, 3)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "1 2 3 4", "a,b,c,d", "1,2,3,nan"])
def test_anything_else_is_no_box(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_box(text)
    assert str(raised.value) == (
        f"a box is x0,y0,x1,y1 in pixels of the upright photo, such as 10,20,200,180; '{text}' is "
        "not"
    )


@pytest.mark.parametrize(
    ("text", "photo", "box"),
    [
        ("bus.jpg:1,2,3,4", "bus.jpg", (1, 2, 3, 4)),
        ("at 10:30.jpg:1,2,3,4", "at 10:30.jpg", (1, 2, 3, 4)),
        ("a:1,2,3,4:5,6,7,8", "a:1,2,3,4", (5, 6, 7, 8)),
        ("bus.jpg", "bus.jpg", None),
        ("at 10:30.jpg", "at 10:30.jpg", None),
        ("bus.jpg:1,2,3", "bus.jpg:1,2,3", None),
        (":1,2,3,4", ":1,2,3,4", None),
    ],
)
def test_the_box_is_what_follows_the_last_colon(text: str, photo: str, box: object) -> None:
    assert parse_example(text) == (photo, box)


# which region that is


class Seen(NamedTuple):
    """What the network says of a box."""

    codes: np.ndarray
    captions: tuple[str, ...]


class Network:
    """Stands for a describer, and notes the frame and the boxes that it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[int, int], list[float]]] = []

    def __call__(self) -> Any:
        return self

    def draft_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def prepare(self, photo: Image.Image, *, frame: tuple[int, int]) -> tuple[int, int]:
        return frame

    def recognise(self, photos: Sequence[tuple[int, int]], boxes: Sequence[np.ndarray]) -> Any:
        self.asked.append((photos[0], boxes[0][0].tolist()))
        return [Seen(codes=np.ones((1, 4), "f2"), captions=("new",))]


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLiteStore]:
    """An index with bus.jpg, in which a bus and a tree are seen, and gone.jpg, a street."""
    draw_photo(tmp_path / "bus.jpg", size=(WIDTH, HEIGHT))
    with new_index(tmp_path / "index.db") as database:
        speak(database, {tmp_path / "bus.jpg": [LEFT, RIGHT], tmp_path / "gone.jpg": [LARGE]})
        yield database


@pytest.mark.parametrize(
    ("box", "caption", "of"),
    [
        ((0, 0, 80, 60), "a bus", LEFT.box),
        ((5, 5, 90, 70), "a bus", LEFT.box),
        ((0, 0, 40, 60), "a bus", LEFT.box),  # half of it
        ((70, 50, 170, 130), "a tree", RIGHT.box),
        ((0, 0, 39, 60), "new", (0, 0, 39, 60)),
        ((-20, 0, 30, 200), "new", (0, 0, 30, 120)),
        (None, "new", (0, 0, 160, 120)),
    ],
)
def test_a_box_means_the_stored_region_that_it_overlaps_most_or_is_looked_at(
    box: Any, caption: str, of: Any, database: SQLiteStore, network: Network, tmp_path: Path
) -> None:
    example = find_example(database, tmp_path / "bus.jpg", box, network=network)
    assert (example.caption, example.box, example.photo_id) == (caption, of, 1)
    assert network.asked == ([((160, 120), list(of))] if caption == "new" else [])


def test_a_photo_means_the_region_around_nearly_all_of_it(
    database: SQLiteStore, network: Network, tmp_path: Path
) -> None:
    example = find_example(database, tmp_path / "gone.jpg", network=network)
    assert (example.caption, example.text) == ("a street", str(tmp_path / "gone.jpg"))
    assert network.asked == []


def test_a_photo_may_be_spelled_in_any_way(
    database: SQLiteStore, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link.jpg").symlink_to(tmp_path / "bus.jpg")
    monkeypatch.chdir(tmp_path)
    for name in ("bus.jpg", "./bus.jpg", f"../{tmp_path.name}/bus.jpg", "link.jpg"):
        example = find_example(database, name, LEFT.box, network=network)
        assert (example.caption, example.photo_id) == ("a bus", 1)
        assert example.text == f"{name}:0,0,80,60"


def test_a_changed_photo_is_looked_at_anew(
    database: SQLiteStore, network: Network, tmp_path: Path
) -> None:
    draw_photo(tmp_path / "bus.jpg", seed=1, size=(200, 100))
    example = find_example(database, tmp_path / "bus.jpg", LEFT.box, network=network)
    assert (example.caption, example.photo_id) == ("new", 1)
    assert network.asked == [((200, 100), [0, 0, 80, 60])]


def test_a_photo_that_the_index_does_not_have_is_looked_at(
    database: SQLiteStore, network: Network, tmp_path: Path
) -> None:
    turned = Image.new("RGB", (40, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    example = find_example(database, tmp_path / "turned.jpg", network=network)
    assert (example.caption, example.photo_id, example.box) == ("new", None, (0, 0, 30, 40))
    assert network.asked == [((30, 40), [0, 0, 30, 40])]


def test_what_was_seen_of_a_photo_that_is_marked_missing_does_not_count(
    database: SQLiteStore, network: Network, tmp_path: Path
) -> None:
    set_state(database, str(tmp_path / "bus.jpg"), MISSING)
    example = find_example(database, tmp_path / "bus.jpg", LEFT.box, network=network)
    assert (example.caption, example.photo_id) == ("new", 1)


@pytest.mark.parametrize("name", ["gone.jpg", "none.jpg", "text.jpg", "a\0b.jpg", "."])
def test_a_photo_that_cannot_be_opened_is_an_error(
    name: str, database: SQLiteStore, network: Network, tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.raises(UsageError, match=r"nothing to compare with in .*; name a photo"):
        find_example(database, os.path.join(tmp_path, name), (0, 0, 10, 10), network=network)


@pytest.mark.parametrize(
    "box", [(160, 0, 170, 10), (30, 0, 20, 10), (0, 0, 10, 0.5), (0, 0, math.nan, 10)]
)
def test_a_box_without_a_pixel_is_an_error(
    box: Any, database: SQLiteStore, network: Network, tmp_path: Path
) -> None:
    corners = ",".join(f"{edge:g}" for edge in box)
    with pytest.raises(UsageError) as raised:
        find_example(database, tmp_path / "bus.jpg", box, network=network)
    assert str(raised.value) == (
        f"the box {corners} has no pixel of {tmp_path / 'bus.jpg'}, which is 160 x 120; give "
        "x0,y0,x1,y1 with x0 < x1 and y0 < y1"
    )


# what is like it

PHOTOS = some_photos(40, seed=3, least=0, most=6)
COPIED = "/p/copy.jpg"


@pytest.fixture
def all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The photos of an index that were never drawn are on the disk."""
    monkeypatch.setattr("indexer.search.selection.is_gone", lambda path: False)


@pytest.fixture(scope="module")
def header(tiny_checkpoint_path: Path) -> CheckpointHeader:
    return read_header(tiny_checkpoint_path)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, header: CheckpointHeader) -> Iterator[Index]:
    """Of forty photos."""
    path = tmp_path_factory.mktemp("forty") / "index.db"
    with new_index(path) as database:
        write(database, header, PHOTOS)
    with Index.open(path, model=header.path, device="cpu") as index:
        yield index


@pytest.fixture(scope="module")
def searcher(index: Index, header: CheckpointHeader) -> Iterator[Searcher]:
    """Of the same photos."""
    with open_store(index.location) as store:
        yield Searcher(store, header, device="cpu")


def plain_loop(searcher: Searcher, question: Question, examples: dict[str, Example]) -> list[Found]:
    """What answers a question by the definition: all regions of all photos, one at a time."""
    vectors = searcher.cache.current()
    mean = vectors.projection.mean

    def likely(codes: np.ndarray, text: str) -> np.ndarray:
        if text not in examples:
            phrase = read_phrase(text, searcher.vocabulary)
            words = searcher.engine.word_log_likelihoods(codes, phrase)
            said = words.sum(axis=1, dtype=np.float64)
            near = searcher.engine.cosines(codes, [phrase])[:, 0]
            return 0.5 * said + 15.0 * near
        one, others = examples[text].code - mean, codes - mean
        lengths = np.linalg.norm(one) * np.linalg.norm(others, axis=1)
        cosines: np.ndarray = others @ one / lengths
        return CONCENTRATION * cosines.astype(np.float64)

    priors = {
        text: np.log(np.exp(likely(vectors.landmarks, text)).mean()) for text in question.phrases
    }
    left_out = {example.photo_id for example in examples.values()}
    answers = []
    for number, (path, regions) in enumerate(PHOTOS.items(), start=1):
        columns = [likely(regions.codes, text) - priors[text] for text in question.phrases]
        scores = np.stack(columns, axis=1) + 3 * np.log(regions.objectness)[:, None]
        alignment = align(question, boxes=regions.boxes, scores=scores, width=WIDTH, height=HEIGHT)
        if alignment is not None and number not in left_out:
            answers.append(
                Found(
                    path,
                    alignment.score,
                    tuple(
                        (
                            question.phrases[column],
                            tuple(regions.boxes[row].tolist()),
                            float(scores[row, column]),
                        )
                        for column, row in alignment.regions
                    ),
                )
            )
    return sorted(answers, key=lambda answer: -answer.score)[:10]


def example_of(path: str, row: int = 0) -> Example:
    """A region of one of the photos."""
    regions = PHOTOS[path]
    return Example(
        text=f"{path}:{row}",
        photo_id=list(PHOTOS).index(path) + 1,
        box=(0, 0, 1, 1),
        code=regions.codes[row],
        caption=regions.captions[row],
    )


SEEN = [path for path, regions in PHOTOS.items() if len(regions.codes)]


@pytest.mark.usefixtures("all_there")
@pytest.mark.parametrize("path", SEEN[:6])
def test_what_is_similar_is_what_a_plain_loop_finds(
    path: str, index: Index, searcher: Searcher
) -> None:
    example = example_of(path)
    question = Question(terms=(Term(example.text),))
    expected = plain_loop(searcher, question, {example.text: example})
    assert len(expected) == 10
    assert_same(found(index.similar(example)), expected)


QUESTIONS = {
    "a phrase and a region": Question(terms=(Term("a red dog"), Term("A"))),
    "weighted": Question(terms=(Term("a cat", 0.3), Term("A", 2))),
    "in one region": Question(terms=(Term("a red dog"), Term("A")), together="same_region"),
    "two regions": Question(terms=(Term("A"), Term("B")), together="and"),
    "a phrase left out": Question(terms=(Term("A"),), without=(Term("a man"),)),
    "large": Question(terms=(Term("B"), Term("a cup")), min_area=0.08),
}


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", QUESTIONS)
def test_regions_and_phrases_are_asked_together(name: str, exact: bool, searcher: Searcher) -> None:
    known = {"A": example_of(SEEN[0]), "B": example_of(SEEN[1], row=-1)}
    question = QUESTIONS[name]
    examples = {text: known[text] for text in question.phrases if text in known}
    asked = [replace(example, text=text) for text, example in examples.items()]
    answer = searcher.search(question, SearchOptions(exact=exact), examples=asked, record=False)
    expected = plain_loop(searcher, question, examples)
    assert expected
    assert_same(found(answer), expected)


@pytest.mark.usefixtures("all_there")
def test_the_parts_of_a_score_add_up(index: Index) -> None:
    example = example_of(SEEN[0])
    (result,) = index.similar(example, top=1).results
    (region,) = result.regions
    assert (region.phrase, region.explanation) == (example.text, None)
    assert region.log_likelihood is not None
    assert region.log_prior is not None
    assert abs(region.log_likelihood) <= CONCENTRATION
    added = 3 * math.log(region.objectness)
    assert result.score == region.score
    assert region.score == pytest.approx(region.log_likelihood - region.log_prior + added)


@pytest.mark.usefixtures("all_there")
def test_a_photo_is_not_like_itself_but_its_copies_are(
    tmp_path: Path, header: CheckpointHeader
) -> None:
    chance = np.random.default_rng(0)
    regions: Regions = some_regions(chance, 4)
    photos = {path: some_regions(chance, 4) for path in ("/p/1.jpg", "/p/2.jpg")}
    with new_index(tmp_path / "index.db") as database:
        write(database, header, {"/p/0.jpg": regions, **photos, COPIED: regions})
    with Index.open(tmp_path / "index.db", model=header.path) as index:
        box = tuple(regions.boxes[2].tolist())
        answer = index.similar("/p/0.jpg", box, per_image=9)
        assert (answer.photos, answer.regions) == (3, 12)
        best, *others = answer.results
        assert (str(best.path), best.regions[0].box) == (COPIED, box)
        assert {str(result.path) for result in others} == set(photos)
        assert [region.score for region in best.regions] == sorted(
            (region.score for region in best.regions), reverse=True
        )
        mixed = index.query("a dog", like=[f"2:/p/0.jpg:{','.join(map(str, box))}"])
        assert {str(result.path) for result in mixed.results} == {COPIED, *photos}
        dog, like = mixed.results[0].regions
        assert mixed.results[0].score == pytest.approx((dog.score + 2 * like.score) / 3)


@pytest.mark.usefixtures("all_there")
def test_filters_the_least_score_and_top_hold(index: Index) -> None:
    example = example_of(SEEN[0])
    everything = found(index.similar(example, top=99))
    assert len(everything) == len(SEEN) - 1
    third = everything[2].score
    assert len(index.similar(example, min_score=third - 1e-3).results) == 3
    only = PhotoFilter(path_glob="*5.jpg")
    assert_same(
        found(index.similar(example, only=only)),
        [one for one in everything if one.path.endswith("5.jpg")],
    )
    assert found(index.similar(example, top=2)) == everything[:2]


def test_the_history_has_what_was_found(index: Index) -> None:
    example = example_of(SEEN[0])
    answer = index.similar(example, top=3)
    assert answer.query_id is not None
    past = index.past_answer(answer.query_id)
    assert (past.phrases, found(past)) == ((example.text,), found(answer))
    with open_file(Path(index.location)) as store, store.connection() as connection:
        query = connection.execute(select(QUERY).where(QUERY.c.id == answer.query_id)).one()
        assert query.options == {"top": 3, "per_image": 1, "exact": False, "like": [example.text]}
    assert index.similar(example, record=False).query_id is None


def test_a_photo_from_elsewhere_is_described_by_the_network_of_the_index(
    index: Index, header: CheckpointHeader, tmp_path: Path
) -> None:
    from dcsearch.checkpoint.checkpoint import load_checkpoint
    from dcsearch.describe import Describer

    draw_photo(tmp_path / "new.png")
    example = index.example(tmp_path / "new.png", (20, 10, 90, 80))
    describer = Describer(load_checkpoint(header.path), device="cpu")
    with Image.open(tmp_path / "new.png") as photo:
        prepared = describer.prepare(photo)
    (seen,) = describer.recognise([prepared], [np.array([[20, 10, 90, 80]])])
    assert (example.photo_id, example.caption) == (None, seen.captions[0])
    assert example.code.tolist() == seen.codes[0].tolist()
    assert_same(
        found(index.similar(tmp_path / "new.png", (20, 10, 90, 80))), found(index.similar(example))
    )


def test_a_photo_is_found_in_either_unicode_form(tmp_path: Path, network: Network) -> None:
    name = tmp_path / "cafe\u0301.jpg"
    with new_index(tmp_path / "index.db") as database:
        speak(database, {name: [LEFT]})
        for typed in (tmp_path / "café.jpg", name, tmp_path / "CAFÉ.JPG"):
            example = find_example(database, typed, (0, 0, 80, 60), network=network)
            assert example.photo_id == 1
