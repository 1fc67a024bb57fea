"""Contact sheets: the whole answer on one page."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.pictures.picture import COLOURS
from cli.pictures.sheet import GREY_TILE, LARGEST_PAGE, MARGIN, PAPER, contact_sheet, grid_for
from dcsearch.errors import PhotoError
from indexer.answer import AlignedRegion, Answer, PhotoResult

PHOTO = (90, 60, 30)


def answer(photos: int, phrases: tuple[str, ...] = ("a dog",), caption: str = "a cat") -> Answer:
    return Answer(
        query_id=1,
        asked_at=datetime(2024, 5, 17, 12, 30, tzinfo=UTC),
        phrases=phrases,
        unknown_words=(),
        model_name="tiny",
        model_sha256="ab" * 32,
        photos=1000,
        regions=100_000,
        elapsed_ms=12.5,
        results=tuple(
            PhotoResult(
                rank=rank,
                path=Path(f"/photos/{rank}.jpg"),
                score=-3.0 - rank,
                width=400,
                height=300,
                regions=tuple(
                    AlignedRegion(
                        phrase=phrase,
                        box=(100.0, 75.0, 300.0, 225.0),
                        score=-3.0,
                        log_likelihood=-2.9,
                        objectness=0.9,
                        caption=caption,
                    )
                    for phrase in phrases
                ),
            )
            for rank in range(1, photos + 1)
        ),
    )


def photo(result: PhotoResult, size: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", (result.width, result.height), PHOTO)


def gone(result: PhotoResult, size: tuple[int, int]) -> Image.Image:
    raise PhotoError("it cannot be read: No such file or directory")


def share(page: Image.Image, colour: tuple[int, int, int]) -> float:
    return float((np.asarray(page) == np.array(colour)).all(axis=2).mean())


def test_every_photo_of_an_answer_is_on_the_sheet() -> None:
    opened: list[int] = []

    def counted(result: PhotoResult, size: tuple[int, int]) -> Image.Image:
        opened.append(result.rank)
        return photo(result, size)

    page = contact_sheet(answer(7), counted)
    grid = grid_for(7)
    assert opened == [1, 2, 3, 4, 5, 6, 7]
    tiles = 7 * grid.tile * grid.tile_height / (page.width * page.height)
    assert share(page, PHOTO) == pytest.approx(tiles, rel=0.05)


def test_the_boxes_are_where_they_are_in_the_photo() -> None:
    page = np.asarray(contact_sheet(answer(1), photo))
    rows, columns = np.nonzero((page == PHOTO).all(axis=2))
    tile = page[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    rows, columns = np.nonzero((tile == COLOURS[0]).all(axis=2))
    height, width = tile.shape[:2]
    assert columns.min() / width == pytest.approx(0.25, abs=0.01)
    assert columns.max() / width == pytest.approx(0.75, abs=0.01)
    assert rows.min() / height == pytest.approx(0.25, abs=0.01)
    assert rows.max() / height == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (3000, 100), (100, 3000), (1, 1)])
def test_a_photo_keeps_its_proportions(size: tuple[int, int]) -> None:
    page = np.asarray(
        contact_sheet(answer(1, phrases=()), lambda result, _: Image.new("RGB", size, PHOTO))
    )
    rows, columns = np.nonzero((page == PHOTO).all(axis=2))
    width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
    assert width / height == pytest.approx(size[0] / size[1], rel=0.05)


def test_a_missing_photo_is_a_grey_tile_with_the_reason() -> None:
    page = contact_sheet(answer(2), gone)
    grid = grid_for(2)
    tiles = 2 * grid.tile * grid.tile_height / (page.width * page.height)
    assert share(page, GREY_TILE) == pytest.approx(tiles, rel=0.05)
    assert share(page, GREY_TILE) < tiles  # something is written on it


def test_every_phrase_has_its_colour_in_the_header_and_beneath_the_tiles() -> None:
    page = contact_sheet(answer(3, phrases=("a dog", "a cat", "a red cup")), gone)
    for colour in COLOURS[:3]:
        rows = np.nonzero((np.asarray(page) == np.array(colour)).all(axis=2))[0]
        assert rows.min() < MARGIN + 50
        assert rows.max() > 300
    assert share(page, COLOURS[3]) == 0


def test_many_long_phrases_stay_on_the_page() -> None:
    phrases = tuple(f"a very long phrase number {number} " * 4 for number in range(12))
    page = np.asarray(contact_sheet(answer(1, phrases=phrases), photo))
    assert (page[:, : MARGIN - 4] == PAPER).all()
    assert (page[:, -MARGIN + 4 :] == PAPER).all()


def test_long_names_and_captions_stay_below_their_tile() -> None:
    page = np.asarray(contact_sheet(answer(1, caption="a dog and " * 60), photo))
    assert (page[:, -MARGIN + 2 :] == PAPER).all()


@pytest.mark.parametrize("photos", [1, 2, 3, 4, 5, 6, 7, 9, 10, 24, 25, 80, 81, 1000])
def test_the_page_is_neither_empty_nor_too_wide(photos: int) -> None:
    grid = grid_for(photos)
    assert grid.columns <= photos
    assert grid.page_width <= LARGEST_PAGE
    assert grid.tile >= 200


def test_an_answer_without_photos_is_a_header() -> None:
    page = contact_sheet(answer(0), photo)
    assert share(page, COLOURS[0]) > 0
    assert page.height < 300


def test_strange_characters_in_names_and_captions_are_drawn_as_text() -> None:
    strange = answer(1, phrases=("a\x1b[31m dog",), caption="犬 \x00 \udce9 [/red]")
    assert contact_sheet(strange, photo).size[0] > 0
