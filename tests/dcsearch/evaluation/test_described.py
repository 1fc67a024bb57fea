"""Described annotated photos: boxes of every source, in the annotation's frame, batch by batch."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.data.proposals import annotated_boxes, whole_photo
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.describe import Describer, Description
from dcsearch.errors import DataError
from dcsearch.evaluation.described import describe_annotated, open_annotated

FRAMES = [(480, 320), (320, 480), (480, 320), (200, 200), (480, 330)]


def drawn(
    file: Path, size: tuple[int, int], seed: int, how: Image.Resampling = Image.Resampling.NEAREST
) -> None:
    """A photo of six by four large coloured blocks, without loss."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize(size, how).save(file)


def annotated(file: Path, frame: tuple[int, int], *boxes: tuple[float, ...]) -> AnnotatedPhoto:
    regions = tuple(
        AnnotatedRegion(box=box, phrases=("a dog",), long_phrases=(), kind="")  # type: ignore[arg-type]
        for box in boxes
    )
    width, height = frame
    return AnnotatedPhoto(path=file, width=width, height=height, regions=regions, captions=())


@pytest.fixture
def photos(tmp_path: Path) -> list[AnnotatedPhoto]:
    """Photos of several shapes whose files are of other sizes than their frames, the fourth
    without regions."""
    made = []
    for seed, (width, height) in enumerate(FRAMES):
        file = tmp_path / f"{seed}.png"
        drawn(file, (120 + seed, 90), seed)
        boxes = [(5.0 + seed, 6.0, width - 50.5, height - 60.0), (0.0, 0.0, 60.0, 80.0)]
        made.append(annotated(file, (width, height), *(boxes if seed != 3 else [])))
    return made


@pytest.fixture
def describer(tiny_checkpoint: Checkpoint) -> Describer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # or final boxes would not move
        torch.nn.init.normal_(tiny_checkpoint.model.recognition.offsets.weight, std=0.05)
    config = tiny_checkpoint.config.replace(photo_side=192)  # photos of several shapes
    checkpoint = dataclasses.replace(tiny_checkpoint, config=config)
    return Describer(checkpoint, device="cpu", regions=6, bfloat16=False)


def described(
    photos: Sequence[AnnotatedPhoto], describer: Describer, **options: Any
) -> list[Description]:
    return list(describe_annotated(photos, describer, **options))


def prepared(photo: AnnotatedPhoto, describer: Describer) -> Any:
    with Image.open(photo.path) as image:
        return describer.prepare(image, frame=(photo.width, photo.height))


def assert_alike(found: Sequence[Description], expected: Sequence[Description]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.width, one.height, one.captions) == (other.width, other.height, other.captions)
        assert_allclose(one.boxes, other.boxes, rtol=1e-4, atol=1e-2)
        assert_allclose(one.objectness, other.objectness, rtol=1e-4, atol=1e-5)
        assert_allclose(one.codes, other.codes, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("source", "moved"), [("final", True), ("proposed", False)])
def test_the_networks_own_boxes_are_those_of_the_describer(
    source: str, moved: bool, photos: list[AnnotatedPhoto], describer: Describer
) -> None:
    expected = [
        describer.describe([prepared(photo, describer)], captions=False, moved=moved)[0]
        for photo in photos
    ]
    found = described(photos, describer, source=source)
    assert_alike(found, expected)
    assert all(0 < len(each.boxes) <= 6 for each in found)


def test_final_and_proposed_boxes_differ(
    photos: list[AnnotatedPhoto], describer: Describer
) -> None:
    final = described(photos[:1], describer)[0].boxes
    proposed = described(photos[:1], describer, source="proposed")[0].boxes
    assert final.shape != proposed.shape or not np.allclose(final, proposed, atol=0.1)


def test_annotated_boxes_are_recognised_as_they_are(
    photos: list[AnnotatedPhoto], describer: Describer
) -> None:
    for photo, found in zip(
        photos, described(photos, describer, source=annotated_boxes), strict=True
    ):
        given = [region.box for region in photo.regions]
        assert (found.width, found.height) == (photo.width, photo.height)
        assert found.codes.shape == (len(given), describer.code_size)
        assert_allclose(sorted(found.boxes.tolist()), sorted(map(list, given)), atol=1e-3)
        assert (np.diff(found.objectness) <= 0).all()


def test_the_whole_photo_is_one_region(photos: list[AnnotatedPhoto], describer: Describer) -> None:
    for photo, found in zip(photos, described(photos, describer, source=whole_photo), strict=True):
        assert_allclose(found.boxes, [[0, 0, photo.width, photo.height]], rtol=1e-5)


def test_a_proposer_sees_each_photo_in_its_frames_size(
    photos: list[AnnotatedPhoto], describer: Describer
) -> None:
    seen: list[tuple[AnnotatedPhoto, str, tuple[int, int]]] = []

    def propose(photo: AnnotatedPhoto, image: Image.Image | None) -> np.ndarray:
        assert image is not None
        seen.append((photo, image.mode, image.size))
        return np.zeros((0, 4), dtype=np.float32)

    found = described(photos, describer, source=propose, batch=2)
    assert seen == [(photo, "RGB", (photo.width, photo.height)) for photo in photos]
    assert [len(each.boxes) for each in found] == [0] * 5
    assert found[0].codes.shape == (0, describer.code_size)


@pytest.mark.parametrize(
    ("source", "captions", "stages"),
    [
        ("final", True, {"opening", "CNN", "proposals", "RNN"}),
        ("proposed", False, {"opening", "CNN", "proposals"}),
        (annotated_boxes, True, {"opening", "CNN", "proposals", "RNN"}),
    ],
)
def test_the_describers_stopwatch_has_every_stage(
    source: Any, captions: bool, stages: set[str], photos: list[AnnotatedPhoto],
    describer: Describer,
) -> None:  # fmt: skip
    describer.stopwatch.restart()
    began = time.perf_counter()
    described(photos, describer, source=source, captions=captions, batch=2)
    spent = describer.stopwatch.seconds
    assert spent.keys() == stages
    assert min(spent.values()) > 0
    assert sum(spent.values()) < time.perf_counter() - began


def test_a_proposers_time_is_that_of_the_proposals(
    photos: list[AnnotatedPhoto], describer: Describer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def propose(photo: AnnotatedPhoto, image: Image.Image | None) -> np.ndarray:
        clock[0] += 8.0
        return whole_photo(photo, image)

    describer.stopwatch.restart()
    described(photos, describer, source=propose)
    assert describer.stopwatch.seconds == {"opening": 0.0, "proposals": 40.0, "CNN": 0.0}


def test_no_more_of_a_proposers_boxes_than_the_describers_regions_and_those_the_first(
    photos: list[AnnotatedPhoto], describer: Describer
) -> None:
    boxes = np.array([[x, 0, x + 30, 40] for x in range(0, 90, 10)], dtype=np.float32)
    (found,) = described(photos[:1], describer, source=lambda photo, image: boxes)
    assert_allclose(sorted(found.boxes.tolist()), boxes[:6].tolist(), atol=1e-3)


@pytest.mark.parametrize("source", ["final", "proposed", annotated_boxes])
@pytest.mark.parametrize("batch", [1, 2, 99])
def test_photos_together_are_photos_one_at_a_time_in_their_order(
    source: Any, batch: int, photos: list[AnnotatedPhoto], describer: Describer
) -> None:
    expected = [described([photo], describer, source=source, captions=True)[0] for photo in photos]
    assert_alike(described(photos, describer, source=source, captions=True, batch=batch), expected)


def test_captions_are_decoded_when_they_are_asked_for(
    photos: list[AnnotatedPhoto], describer: Describer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in ("final", annotated_boxes):
        (found,) = described(photos[:1], describer, source=source, captions=True)
        assert any(found.captions)
    expected = describer.describe([prepared(photos[0], describer)])[0].captions
    assert described(photos[:1], describer, captions=True)[0].captions == expected

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(describer.checkpoint.model.language, "describe", refuse)
    (found,) = described(photos[:1], describer, source=annotated_boxes)
    assert found.captions == ("", "")


def test_boxes_live_in_the_frame_whatever_the_size_of_the_file(
    tmp_path: Path, describer: Describer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One picture in a small, a large and a squashed file is the same picture in its frame."""
    sizes = [(192, 128), (960, 640), (192, 640)]
    for number, size in enumerate(sizes):
        drawn(tmp_path / f"{number}.png", size, seed=0, how=Image.Resampling.BICUBIC)
    photos = [annotated(tmp_path / f"{number}.png", (480, 320)) for number in range(3)]
    pixels: list[torch.Tensor] = []
    prepare = describer.prepare

    def spy(*arguments: Any, **named: Any) -> Any:
        ready = prepare(*arguments, **named)
        pixels.append(ready.pixels.float())
        return ready

    monkeypatch.setattr(describer, "prepare", spy)
    for found in described(photos, describer):
        assert (found.width, found.height) == (480, 320)
        assert found.boxes[:, 2].max() > 192
        assert (found.boxes >= 0).all()
        assert (found.boxes <= [480, 320, 480, 320]).all()
    for seen in pixels:
        assert seen.shape == (3, 128, 192)
        assert (seen - pixels[0]).abs().mean() < 3  # of 255; what resampling makes of it


def test_a_larger_frame_is_larger_boxes_and_nothing_else(
    photos: list[AnnotatedPhoto], describer: Describer
) -> None:
    (own,) = described(photos[:1], describer)
    (large,) = described([dataclasses.replace(photos[0], width=4800, height=3200)], describer)
    assert_allclose(large.boxes, own.boxes * 10, rtol=1e-4)
    assert_array_equal(large.codes, own.codes)


def test_no_photos_have_no_descriptions(describer: Describer) -> None:
    assert described([], describer) == []


@pytest.mark.parametrize("content", [None, b"", b"no photo", b"\x89PNG\r\n\x1a\n"])
def test_a_photo_that_cannot_be_opened_is_named(
    content: bytes | None, photos: list[AnnotatedPhoto], tmp_path: Path, describer: Describer
) -> None:
    file = tmp_path / "broken.png"
    if content is not None:
        file.write_bytes(content)
    found = describe_annotated([photos[0], annotated(file, (9, 9))], describer, batch=1)
    assert len(next(found).boxes) > 0  # those before it are described
    with pytest.raises(DataError) as caught:
        next(found)
    assert str(caught.value).startswith(f"photo {file} cannot be opened: ")
    assert caught.value.__cause__ is None


def test_a_photo_cut_short_is_named(photos: list[AnnotatedPhoto], tmp_path: Path) -> None:
    file = tmp_path / "short.jpg"
    with Image.open(photos[0].path) as image:
        image.save(file)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"short\.jpg cannot be opened"):
        open_annotated(annotated(file, (9, 9)))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_a_photo_of_another_mode_is_opened_in_colour_and_its_own_size(
    mode: str, tmp_path: Path
) -> None:
    file = tmp_path / "photo.tif"
    Image.new("RGB", (31, 17), (255, 255, 255)).convert(mode).save(file)
    image = open_annotated(annotated(file, (99, 99)))
    assert (image.mode, image.size) == ("RGB", (31, 17))
    assert image.getpixel((5, 5)) == (255, 255, 255)
