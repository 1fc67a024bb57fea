"""Scratch: what was described is read back as it was, and only what is missing is described."""

import dataclasses
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from cli import cures
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.describe import Description
from dcsearch.errors import DataError, IndexUnusable
from indexer.evaluations import Scratch, default_scratch_folder, fingerprint

REGION = AnnotatedRegion(box=(1.0, 2.0, 3.0, 4.0), phrases=("a dog",), long_phrases=(), kind="")


def photos(count: int, folder: Path = Path("nowhere")) -> list[AnnotatedPhoto]:
    """Photos 10 + number wide, with one region."""
    return [
        AnnotatedPhoto(
            path=folder / f"{number}.jpg",
            width=10 + number,
            height=8,
            regions=(REGION,),
            captions=(),
        )
        for number in range(count)
    ]


class Eyes:
    """Sees as many regions in a photo as it is wider than ten pixels; counts what it looks at."""

    def __init__(self, *, fails_at: int | None = None, code_size: int = 5) -> None:
        self.looked: list[str] = []
        self.fails_at = fails_at
        self.code_size = code_size

    def __call__(
        self, chunk: Sequence[AnnotatedPhoto]
    ) -> Iterator[tuple[Description, dict[str, float]]]:
        for photo in chunk:
            if len(self.looked) == self.fails_at:
                raise KeyboardInterrupt
            self.looked.append(photo.path.name)
            yield self.see(photo), {"opening": 1.0, "CNN": float(photo.width)}

    def see(self, photo: AnnotatedPhoto) -> Description:
        count, chance = photo.width - 10, np.random.default_rng(photo.width)
        return Description(
            width=photo.width,
            height=photo.height,
            boxes=chance.random((count, 4), dtype=np.float32) * 8,
            objectness=chance.random(count, dtype=np.float32),
            captions=tuple(f'a "réd" dög {place}' for place in range(count)),
            codes=chance.normal(size=(count, self.code_size)).astype(np.float16),
            placed=chance.random((count, 4), dtype=np.float32) if count % 2 else None,
        )


def assert_same(found: Sequence[Description], expected: Sequence[Description]) -> None:
    for one, other in zip(found, expected, strict=True):
        for field in dataclasses.fields(Description):
            mine, theirs = getattr(one, field.name), getattr(other, field.name)
            if isinstance(theirs, np.ndarray):
                assert mine.dtype == theirs.dtype
                assert mine.shape == theirs.shape
            assert_array_equal(mine, theirs)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "evaluations" / "seen.db"  # in folders that are not there yet


def described(file: Path, seen: list[AnnotatedPhoto], eyes: Eyes, **options: Any) -> Any:
    scratch = Scratch(file)
    try:
        return scratch.describe(seen, eyes, **options)
    finally:
        scratch.close()


# descriptions


def test_descriptions_come_back_to_the_last_bit_without_looking_again(file: Path) -> None:
    eyes, seen = Eyes(), photos(5)
    expected = [eyes.see(photo) for photo in seen]
    assert_same(described(file, seen, eyes), expected)
    again = Eyes()
    assert_same(described(file, seen, again), expected)
    assert len(eyes.looked) == 5
    assert again.looked == []


def test_a_photo_without_regions_keeps_its_place_and_the_size_of_a_code(file: Path) -> None:
    empty, one = described(file, photos(2), Eyes(code_size=7))
    assert empty.boxes.shape == (0, 4)
    assert empty.objectness.shape == (0,)
    assert empty.captions == ()
    assert empty.codes.shape == (0, 7)
    assert one.codes.shape == (1, 7)


def test_no_photos_have_no_descriptions_and_took_no_time(file: Path) -> None:
    scratch = Scratch(file)
    assert scratch.describe([], Eyes()) == []
    assert scratch.seconds() == {}
    scratch.close()


def test_what_comes_back_may_be_written_to_and_is_nothing_for_torch_to_warn_of(file: Path) -> None:
    (found,) = described(file, photos(3)[2:], Eyes())
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # or only the first warning of a process would show
    try:
        for values in (found.boxes, found.objectness, found.codes):
            torch.from_numpy(values)
    finally:
        torch.set_warn_always(always)


def test_arrays_of_another_order_or_kind_are_kept_as_what_they_hold(file: Path) -> None:
    (photo,) = photos(4)[3:]
    plain = Eyes().see(photo)
    strange = dataclasses.replace(
        plain, boxes=np.asfortranarray(plain.boxes.astype(np.float64)), codes=plain.codes[:, ::-1]
    )
    with closing(Scratch(file)) as scratch:
        (found,) = scratch.describe([photo], lambda chunk: iter([(strange, {"CNN": 1.0})]))
    assert_array_equal(found.boxes, plain.boxes)
    assert_array_equal(found.codes, plain.codes[:, ::-1])


def test_an_interrupted_description_goes_on_where_its_last_batch_ended(file: Path) -> None:
    seen, first = photos(7), Eyes(fails_at=5)
    with pytest.raises(KeyboardInterrupt):
        described(file, seen, first, batch=2)
    second = Eyes()
    found = described(file, seen, second, batch=2)
    assert second.looked == ["4.jpg", "5.jpg", "6.jpg"]  # four are kept, half a batch was lost
    assert_same(found, [second.see(photo) for photo in seen])


def test_an_error_of_a_photo_is_passed_on_and_what_came_before_is_kept(file: Path) -> None:
    eyes = Eyes()

    def see(chunk: Sequence[AnnotatedPhoto]) -> Iterator[tuple[Description, dict[str, float]]]:
        if chunk[0].path.name == "2.jpg":
            raise DataError("photo 2.jpg cannot be opened")
        return eyes(chunk)

    scratch = Scratch(file)
    with pytest.raises(DataError, match=r"photo 2\.jpg"):
        scratch.describe(photos(4), see, batch=1)
    scratch.close()
    second = Eyes()
    described(file, photos(4), second)
    assert (eyes.looked, second.looked) == (["0.jpg", "1.jpg"], ["2.jpg", "3.jpg"])


def test_progress_counts_what_was_kept(file: Path) -> None:
    told: list[tuple[int, int]] = []
    with pytest.raises(KeyboardInterrupt):
        described(file, photos(5), Eyes(fails_at=3), batch=2)
    described(
        file, photos(5), Eyes(), batch=2, on_progress=lambda done, of: told.append((done, of))
    )
    assert told == [(4, 5), (5, 5)]


def test_one_that_sees_fewer_photos_than_asked_is_a_bug_and_nothing_is_kept(file: Path) -> None:
    with closing(Scratch(file)) as scratch, pytest.raises(ValueError, match="shorter"):
        scratch.describe(photos(3), lambda chunk: Eyes()(chunk[:2]))
    eyes = Eyes()
    described(file, photos(3), eyes)
    assert len(eyes.looked) == 3


def test_the_seconds_are_those_of_the_time_when_photos_were_described(file: Path) -> None:
    described(file, photos(3), Eyes())  # 10, 11 and 12 seconds
    scratch = Scratch(file)
    scratch.describe(photos(3), Eyes())
    assert scratch.seconds() == {"opening": 1.0, "CNN": 11.0}
    scratch.close()


def test_a_stage_that_some_photos_did_not_need_took_them_no_time(file: Path) -> None:
    def see(chunk: Sequence[AnnotatedPhoto]) -> Iterator[tuple[Description, dict[str, float]]]:
        stages = ({"CNN": 4.0}, {"CNN": 2.0, "RNN": 8.0})
        return zip(map(Eyes().see, chunk), stages, strict=True)

    scratch = Scratch(file)
    scratch.describe(photos(2), see)
    assert scratch.seconds() == {"CNN": 3.0, "RNN": 4.0}
    scratch.close()


def test_two_evaluations_at_once_share_what_they_see(file: Path) -> None:
    seen, own, other = photos(4), Scratch(file), Scratch(file)

    def see(chunk: Sequence[AnnotatedPhoto]) -> Iterator[tuple[Description, dict[str, float]]]:
        other.describe(seen, Eyes())  # comes first
        return Eyes()(chunk)

    assert_same(own.describe(seen, see), [Eyes().see(photo) for photo in seen])
    own.close()
    other.close()


# files


@pytest.mark.parametrize("name", ["a b", "ünï", "a?b", "c%20d", "e#f", "x?timeout=1"])
def test_a_folder_may_be_called_anything(name: str, tmp_path: Path) -> None:
    file = tmp_path / name / "seen.db"
    described(file, photos(2), Eyes())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert file.is_file()


def refused(file: Path, seen: Sequence[AnnotatedPhoto] = ()) -> str:
    """The sentence that says why a file cannot be used."""
    with pytest.raises(IndexUnusable) as caught:
        described(file, list(seen), Eyes())
    sentence = cures.sentence(caught.value)
    assert sentence.startswith(f"the scratch file {file} cannot be used (")
    assert sentence.endswith("); delete it, or name another folder with --cache")
    assert "\n" not in sentence
    assert "SELECT" not in sentence
    return sentence


def test_a_foreign_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("no database, but long enough to be taken for one" * 99)
    before = text.read_bytes()
    assert "file is not a database" in refused(text)
    assert text.read_bytes() == before


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE seen (photo TEXT)")
    connection.close()
    assert "no such column" in refused(file)


@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_a_file_cut_short_is_refused(kept: float, file: Path) -> None:
    described(file, photos(60), Eyes())
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    refused(file, photos(60))


def test_a_file_damaged_far_behind_its_beginning_is_refused_when_that_is_read(file: Path) -> None:
    described(file, photos(60), Eyes())
    content = bytearray(file.read_bytes())
    content[-8192:] = b"\xff" * 8192
    file.write_bytes(content)
    scratch = Scratch(file)  # nothing to be noticed yet
    with pytest.raises(IndexUnusable, match="malformed"):
        scratch.describe(photos(60), Eyes())
    scratch.close()


def test_a_file_that_goes_away_while_it_is_used_is_told_in_a_sentence(file: Path) -> None:
    def see(chunk: Sequence[AnnotatedPhoto]) -> Iterator[tuple[Description, dict[str, float]]]:
        with sqlite3.connect(file) as connection:
            connection.execute("DROP TABLE seen")
        connection.close()
        return Eyes()(chunk)

    scratch = Scratch(file)
    with pytest.raises(IndexUnusable, match="no such table"):
        scratch.describe(photos(2), see)
    scratch.close()


def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    file = tmp_path / "empty.db"
    file.touch()
    assert len(described(file, photos(3), Eyes())) == 3


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    assert "unable to open" in refused(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    refused(tmp_path / "taken" / "seen.db")
    refused(tmp_path / "taken" / "deeper" / "seen.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        refused(tmp_path / "seen.db")
        assert "Permission denied" in refused(tmp_path / "deeper" / "seen.db")
    finally:
        tmp_path.chmod(0o700)


def test_the_default_folder_is_in_the_users_cache() -> None:
    folder = default_scratch_folder()
    assert folder.is_absolute()
    assert folder.parts[-2:] == ("dcsearch", "evaluations")


# fingerprints

MADE_WITH: dict[str, Any] = {"model": "00ff", "source": "model", "regions": 100, "captions": False}


@pytest.fixture
def seen(tmp_path: Path) -> list[AnnotatedPhoto]:
    """Two photos, of which the first has a file."""
    (tmp_path / "0.jpg").write_bytes(b"pixels")
    os.utime(tmp_path / "0.jpg", (1_000_000, 1_000_000))
    return photos(2, tmp_path)


def test_a_fingerprint_is_a_file_name_and_the_same_each_time(seen: list[AnnotatedPhoto]) -> None:
    name = fingerprint(seen, **MADE_WITH)
    assert len(name) == 32
    assert set(name) <= set("0123456789abcdef")
    assert fingerprint(list(seen), **dict(reversed(MADE_WITH.items()))) == name
    assert len(fingerprint([])) == 32


@pytest.mark.parametrize(
    "change",
    [{"model": "00fe"}, {"source": "truth"}, {"regions": 99}, {"captions": True}, {"more": 1}],
)
def test_another_model_source_or_setting_is_another_fingerprint(
    change: dict[str, Any], seen: list[AnnotatedPhoto]
) -> None:
    assert fingerprint(seen, **MADE_WITH | change) != fingerprint(seen, **MADE_WITH)


@pytest.mark.parametrize(
    "change",
    [
        {"path": Path("elsewhere.jpg")},
        {"width": 11},
        {"height": 9},
        {"regions": ()},
        {"regions": (dataclasses.replace(REGION, box=(1.0, 2.0, 3.0, 4.5)),)},
        {"regions": (dataclasses.replace(REGION, parts=(REGION.box,)),)},
    ],
)
def test_another_path_frame_or_box_is_another_fingerprint(
    change: dict[str, Any], seen: list[AnnotatedPhoto]
) -> None:
    changed = [dataclasses.replace(seen[0], **change), seen[1]]
    assert fingerprint(changed, **MADE_WITH) != fingerprint(seen, **MADE_WITH)


def test_other_photos_or_another_order_are_another_fingerprint(seen: list[AnnotatedPhoto]) -> None:
    names = {fingerprint(order) for order in (seen, seen[::-1], seen[:1], seen[1:], [*seen, *seen])}
    assert len(names) == 5


def test_a_file_of_other_bytes_or_time_is_another_fingerprint(seen: list[AnnotatedPhoto]) -> None:
    path, names = seen[0].path, {fingerprint(seen)}
    path.write_bytes(b"more pixels")
    os.utime(path, (1_000_000, 1_000_000))
    names.add(fingerprint(seen))
    os.utime(path, (1_000_000, 2_000_000))
    names.add(fingerprint(seen))
    path.unlink()
    names.add(fingerprint(seen))
    assert len(names) == 4


def test_other_words_are_the_same_fingerprint(seen: list[AnnotatedPhoto]) -> None:
    """Phrases do not change what a network sees."""
    spoken = dataclasses.replace(REGION, phrases=("a cat",), long_phrases=("a very long cat",))
    changed = [dataclasses.replace(p, regions=(spoken,), captions=("a photo",)) for p in seen]
    assert fingerprint(changed, **MADE_WITH) == fingerprint(seen, **MADE_WITH)
