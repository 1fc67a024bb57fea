"""Training photos: drawn scenes whose boxes must stay on their things, however they are varied."""

import dataclasses
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch.testing import assert_close

from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.training.photos import (
    Batches,
    TrainingPhotos,
    collate,
    crop_frame,
    cut,
    is_boxed,
    phrase_target,
    recolour,
    scaled_frame,
    see,
    targets_on,
)
from dcsearch.training.targets import PhraseTarget, Target
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS, tiny_config
from tests.network_fixtures import extent

VOCABULARY = Vocabulary(WORDS)
WIDTH, HEIGHT = 256, 192
RED, BLUE = (24, 40, 104, 120), (150, 60, 230, 140)  # squares, in the frame

Box = tuple[float, float, float, float]


def region(box: Box, *phrases: str, long_phrases: tuple[str, ...] = ()) -> AnnotatedRegion:
    return AnnotatedRegion(box=box, phrases=phrases, long_phrases=long_phrases, kind="")


def scene(
    folder: Path, *regions: AnnotatedRegion, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> AnnotatedPhoto:
    """A red square on the left and a blue one on the right of a grey photo.

    `size` is the file's, which may be squashed; boxes live in WIDTH x HEIGHT.
    """
    image = Image.new("RGB", (WIDTH, HEIGHT), (110, 110, 110))
    draw = ImageDraw.Draw(image)
    for box, colour in ((RED, (220, 30, 30)), (BLUE, (30, 30, 220))):
        draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=colour)
    path = folder / f"{size[0]}x{size[1]}.png"
    image.resize(size, Image.Resampling.BOX).save(path)
    return AnnotatedPhoto(path=path, width=WIDTH, height=HEIGHT, regions=regions, captions=())


def training_photos(
    *photos: AnnotatedPhoto,
    vary: bool = True,
    flips_only: bool = False,
    widely: bool = False,
    views: int = 0,
    seed: int = 0,
    **changes: Any,
) -> TrainingPhotos:
    config = tiny_config().replace(**{"photo_side": WIDTH, **changes})
    return TrainingPhotos(
        photos, config=config, vocabulary=VOCABULARY, seed=seed, vary=vary, flips_only=flips_only,
        widely=widely, views=views,
    )  # fmt: skip


def test_an_unvaried_photo_is_the_photo_as_the_network_sees_it(tmp_path: Path) -> None:
    seen = training_photos(scene(tmp_path, region(RED, "a red dog")), vary=False)
    pixels, target = seen[0]
    assert pixels.shape == (3, HEIGHT, WIDTH)
    assert pixels.dtype == torch.uint8
    assert pixels[:, 60, 60].tolist() == [220, 30, 30]
    assert pixels[:, 10, 10].tolist() == [110, 110, 110]
    assert_close(target.boxes, torch.tensor([RED], dtype=torch.float32))
    assert target.phrases == [[PhraseTarget([1, 3, 6], frozenset({3, 6}))]]
    assert seen.size(0) == (WIDTH, HEIGHT)
    assert len(seen) == 1


@pytest.mark.parametrize("size", [(128, 128), (64, 192), (512, 384)])
def test_a_squashed_file_is_restored_to_its_annotated_proportions(
    size: tuple[int, int], tmp_path: Path
) -> None:
    pixels, target = training_photos(scene(tmp_path, region(RED), size=size), vary=False)[0]
    assert pixels.shape == (3, HEIGHT, WIDTH)
    assert_close(target.boxes, torch.tensor([RED], dtype=torch.float32))
    assert extent(pixels, 0) == pytest.approx(RED, abs=4)


def test_boxes_are_in_the_pixels_of_the_network(tmp_path: Path) -> None:
    seen = training_photos(scene(tmp_path, region(RED)), vary=False, photo_side=WIDTH * 2)
    assert seen.size(0) == (WIDTH * 2, HEIGHT * 2)
    pixels, target = seen[0]
    assert pixels.shape == (3, HEIGHT * 2, WIDTH * 2)
    assert_close(target.boxes, 2 * torch.tensor([RED], dtype=torch.float32))


def test_crops_and_flips_keep_boxes_on_their_things(tmp_path: Path) -> None:
    seen = training_photos(scene(tmp_path, region(RED, "a dog"), region(BLUE, "a cat")))
    kept: Counter[int] = Counter()
    flipped = cropped = 0
    for epoch in range(60):
        pixels, target = seen[epoch, 0]
        assert pixels.shape == (3, HEIGHT, WIDTH)
        assert len(target.boxes) == len(target.phrases)
        for box, phrases in zip(target.boxes, target.phrases, strict=True):
            channel = {6: 0, 7: 2}[phrases[0].tokens[1]]  # dog is red, cat is blue
            kept[channel] += 1
            assert extent(pixels, channel) == pytest.approx(box.tolist(), abs=2.5)
            cropped += abs((box[2] - box[0]).item() - 80) > 2
        red, blue = extent(pixels, 0), extent(pixels, 2)
        flipped += red is not None and blue is not None and red[0] > blue[0]
    assert kept[0] > 30
    assert kept[2] > 30
    assert 10 < flipped < 50
    assert cropped > 20


@pytest.mark.parametrize(
    ("phrases", "long_phrases"),
    [
        (("the left dog",), ()),
        (("a dog", "Right!"), ()),
        (("a dog",), ("a dog on the left of a cat",)),
        (("a left-hand dog",), ()),
        (("the leftmost dog",), ()),
        (("the right-most dog",), ()),
    ],
)
def test_phrases_with_left_and_right_are_never_flipped(
    phrases: tuple[str, ...], long_phrases: tuple[str, ...], tmp_path: Path
) -> None:
    seen = training_photos(
        scene(tmp_path, region(RED, *phrases, long_phrases=long_phrases), region(BLUE, "a cat"))
    )
    both = 0
    for epoch in range(25):
        pixels, _ = seen[epoch, 0]
        red, blue = extent(pixels, 0), extent(pixels, 2)
        if red and blue:
            both += 1
            assert red[0] < blue[0]
    assert both > 10


def test_words_that_merely_hold_left_or_right_are_flipped(tmp_path: Path) -> None:
    seen = training_photos(scene(tmp_path, region(RED, "a bright dog"), region(BLUE, "a cat")))
    orders = set()
    for epoch in range(25):
        red, blue = (extent(seen[epoch, 0][0], channel) for channel in (0, 2))
        if red and blue:
            orders.add(red[0] < blue[0])
    assert orders == {True, False}


def test_what_varies_depends_on_seed_epoch_and_photo_alone(tmp_path: Path) -> None:
    photo = scene(tmp_path, region(RED, "a dog"))
    seen = training_photos(photo, photo)
    first = seen[3, 0]
    random.seed(5)
    torch.manual_seed(5)
    again = training_photos(photo, photo)[3, 0]
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1].boxes, again[1].boxes)
    for other in (seen[4, 0], seen[3, 1], training_photos(photo, photo, seed=1)[3, 0]):
        assert not torch.equal(first[0], other[0])
    assert torch.equal(seen[0][0], seen[0, 0][0])  # an index alone is of epoch 0


def test_without_variation_every_epoch_is_the_same(tmp_path: Path) -> None:
    seen = training_photos(scene(tmp_path, region(RED, "a dog")), vary=False)
    assert torch.equal(seen[0][0], seen[7, 0][0])


@pytest.mark.parametrize("vary", [True, False])
def test_a_photo_without_regions_has_an_empty_target(vary: bool, tmp_path: Path) -> None:
    for epoch in range(4):
        _, target = training_photos(scene(tmp_path), vary=vary)[epoch, 0]
        assert target.boxes.shape == (0, 4)
        assert target.phrases == []


def test_short_and_long_phrases_are_learned_and_empty_ones_are_not(tmp_path: Path) -> None:
    photo = scene(
        tmp_path, region(RED, "a dog", "...", long_phrases=("the dog on a disc",)), region(BLUE)
    )
    _, target = training_photos(photo, vary=False)[0]
    assert [[phrase.tokens for phrase in own] for own in target.phrases] == [
        [[1, 6], [2, 6, 13, 1, 10]],
        [],
    ]


def test_flips_only_are_the_photo_and_its_mirror_image(tmp_path: Path) -> None:
    photo = scene(tmp_path, region(RED, "a red dog"))
    plain, target = training_photos(photo, vary=False)[0]
    seen = training_photos(photo, flips_only=True)
    flipped = 0
    for epoch in range(20):
        pixels, varied = seen[epoch, 0]
        mirrored = bool(varied.boxes[0, 0] != RED[0])
        assert torch.equal(pixels, plain.flip(2) if mirrored else plain)
        expected = [WIDTH - RED[2], RED[1], WIDTH - RED[0], RED[3]] if mirrored else RED
        assert_close(varied.boxes, torch.tensor([expected], dtype=torch.float32))
        assert varied.phrases == target.phrases
        flipped += mirrored
    assert 4 < flipped < 16
    sided = training_photos(scene(tmp_path, region(RED, "the left one")), flips_only=True)
    assert all(torch.equal(sided[epoch, 0][0], plain) for epoch in range(10))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_a_file_of_another_mode_is_seen_in_colour(mode: str, tmp_path: Path) -> None:
    photo = scene(tmp_path, region(RED, "a dog"))
    with Image.open(photo.path) as image:
        image.convert(mode).save(photo.path)
    assert training_photos(photo)[0][0].shape == (3, HEIGHT, WIDTH)


def test_with_views_the_same_variations_come_again(tmp_path: Path) -> None:
    photo = scene(tmp_path, region(RED, "a dog"))
    plain, seen = training_photos(photo), training_photos(photo, views=2)
    for epoch in range(5):
        (pixels, target), (before, known) = seen[epoch, 0], plain[epoch % 2, 0]
        assert torch.equal(pixels, before)
        assert torch.equal(target.boxes, known.boxes)
    assert not torch.equal(seen[0, 0][0], seen[1, 0][0])


def test_photos_in_many_sizes_keep_boxes_on_their_things(tmp_path: Path) -> None:
    seen = training_photos(
        scene(tmp_path, region(RED, "a dog"), region(BLUE, "a cat")), widely=True
    )
    sizes = []
    for epoch in range(60):
        pixels, target = seen[epoch, 0]
        assert pixels.shape == (3, HEIGHT, WIDTH)
        for box, own in zip(target.boxes, target.phrases, strict=True):
            channel = {6: 0, 7: 2}[own[0].tokens[1]]  # dog is red, cat is blue
            assert extent(pixels, channel) == pytest.approx(box.tolist(), abs=3)
            if channel == 0:
                sizes.append(float(box[3] - box[1]) / 80)
    assert 0.5 <= min(sizes) < 0.7
    assert 1.3 < max(sizes) <= 2
    assert 15 < sizes.count(1.0) < 40  # four in ten stay as they are


# what has no boxes

WHOLE = (0, 0, WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("regions", "boxed"),
    [
        ([], True),  # nothing is there
        ([(WHOLE, "scene")], False),
        ([(WHOLE, "scene"), ((1, 0.5, WIDTH - 1, HEIGHT), "scene")], False),
        ([(WHOLE, "scene"), (RED, "object")], True),
        ([((2, 0, WIDTH, HEIGHT), "scene")], True),  # a scene with a box of its own
        ([((0, 0, WIDTH, HEIGHT - 2), "scene")], True),
        ([(WHOLE, "")], True),
    ],
)
def test_photos_of_whole_scenes_alone_tell_no_places(
    regions: list[tuple[Box, str]], boxed: bool, tmp_path: Path
) -> None:
    own = [dataclasses.replace(region(box, "a dog"), kind=kind) for box, kind in regions]
    photo = scene(tmp_path, *own)
    assert is_boxed(photo) is boxed
    _, target = training_photos(photo, vary=False)[0]
    assert target.boxed is boxed
    (there,) = targets_on(torch.device("cpu"), [target])
    assert there == target


def test_what_has_no_boxes_is_cropped_and_not_shown_smaller(tmp_path: Path) -> None:
    photo = scene(tmp_path, dataclasses.replace(region(WHOLE, "a dog"), kind="scene"))
    widely, plain = training_photos(photo, widely=True), training_photos(photo)
    for epoch in range(8):
        assert torch.equal(widely[epoch, 0][0], plain[epoch, 0][0])


# parts


class Fixed(random.Random):
    """Draws what it was told to."""

    def __init__(self, *values: float) -> None:
        super().__init__(0)
        self.values = iter(values)

    def uniform(self, a: float, b: float) -> float:
        value = next(self.values)
        assert a <= value <= b
        return value


@pytest.mark.parametrize(
    ("scale", "shares", "frame"),
    [
        (0.5, (0.25, 0.5), (-100.0, -50.0, 700.0, 150.0)),
        (2.0, (0.25, 0.5), (50.0, 25.0, 250.0, 75.0)),
        (2.0, (1.0, 0.0), (200.0, 0.0, 400.0, 50.0)),
        (1.0, (0.3, 0.9), (0.0, 0.0, 400.0, 100.0)),
    ],
)
def test_a_frame_that_scales_by_hand(
    scale: float, shares: tuple[float, float], frame: tuple[float, ...]
) -> None:
    found = scaled_frame(400, 100, Fixed(math.log(scale), *shares))
    assert found == pytest.approx(frame)


def test_a_frame_that_scales_lies_inside_the_photo_or_around_it() -> None:
    chance = random.Random(0)
    scales = []
    for _ in range(300):
        x0, y0, x1, y1 = scaled_frame(400, 100, chance)
        assert (x1 - x0) / (y1 - y0) == pytest.approx(4)
        scales.append(400 / (x1 - x0))
        inside = scales[-1] >= 1
        for low, high, side in ((x0, x1, 400), (y0, y1, 100)):
            assert (low >= -1e-6) is inside or abs(low) < 1e-6
            assert (high <= side + 1e-6) is inside or abs(high - side) < 1e-6
    assert 0.5 <= min(scales) < 0.55
    assert 1.8 < max(scales) <= 2
    assert 120 < sum(scale > 1 for scale in scales) < 180


def test_what_a_frame_shows_beyond_the_photo_is_grey(tmp_path: Path) -> None:
    """The photo at half its size, at (64, 48) of the picture, from a squashed file."""
    photo = scene(tmp_path, region(RED, "a dog"), size=(128, 192))
    frame = (-128.0, -96.0, 384.0, 288.0)
    pixels = cut(photo, frame, WIDTH, HEIGHT)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    shown = np.zeros((HEIGHT, WIDTH), dtype=bool)
    shown[48:144, 64:192] = True
    assert (pixels[~shown] == (124, 116, 104)).all()
    assert (pixels[48:60, 64:192] == 110).all()
    boxes, kept = see(photo, phrases(1), frame, WIDTH, HEIGHT)
    assert_close(boxes, torch.tensor([[76.0, 68.0, 116.0, 108.0]]))
    assert kept == phrases(1)
    tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    assert extent(tensor, 0) == pytest.approx([76, 68, 116, 108], abs=1)


def test_a_crop_shows_at_least_45_percent_in_nearly_the_photos_proportions() -> None:
    chance = random.Random(0)
    areas = []
    for _ in range(300):
        x0, y0, x1, y1 = crop_frame(400, 100, chance)
        assert 0 <= x0 < x1 <= 400 + 1e-6
        assert 0 <= y0 < y1 <= 100 + 1e-6
        areas.append((x1 - x0) * (y1 - y0) / 40_000)
        assert 3.6 - 1e-6 <= (x1 - x0) / (y1 - y0) <= 4.4 + 1e-6
    assert min(areas) > 0.4
    assert max(areas) <= 1.0 + 1e-6
    assert max(areas) - min(areas) > 0.4


def test_cutting_takes_the_frames_pixels_of_a_squashed_file(tmp_path: Path) -> None:
    photo = scene(tmp_path, size=(128, 192))  # half as wide as it should be
    pixels = cut(photo, (24.0, 40.0, 104.0, 120.0), 40, 20)
    assert pixels.shape == (20, 40, 3)
    assert (pixels[1:-1, 1:-1] == (220, 30, 30)).all()
    assert (pixels[..., 0] > 180).all()  # the border may be smoothed with what lies beyond


def phrases(count: int) -> list[list[PhraseTarget]]:
    return [[PhraseTarget([index], frozenset([index]))] for index in range(count)]


def test_regions_are_seen_through_a_frame(tmp_path: Path) -> None:
    """A frame of 100 x 50 at (20, 10), seen at twice and four times its size."""
    photo = scene(
        tmp_path,
        region((30, 20, 50, 30)),  # inside
        region((0, 10, 50, 60)),  # 30 / 50 of it inside
        region((0, 10, 49, 60)),  # 29 / 49 of it inside
        region((200, 100, 220, 120)),  # outside
        region((0, 0, 125, 65)),  # larger than the frame, which is 5000 / 8125 of it
    )
    boxes, kept = see(photo, phrases(5), (20.0, 10.0, 120.0, 60.0), 200, 200)
    assert_close(
        boxes,
        torch.tensor([[20.0, 40.0, 60.0, 80.0], [0.0, 0.0, 60.0, 200.0], [0.0, 0.0, 200.0, 200.0]]),
    )
    assert kept == [phrases(5)[0], phrases(5)[1], phrases(5)[4]]


def test_a_frame_without_regions_shows_none(tmp_path: Path) -> None:
    photo = scene(tmp_path, region((200, 100, 220, 120)))
    boxes, kept = see(photo, phrases(1), (0.0, 0.0, 50.0, 50.0), 100, 100)
    assert boxes.shape == (0, 4)
    assert kept == []


def test_recolouring_by_hand() -> None:
    pixels = np.array([[[100, 100, 100], [200, 200, 200]]], dtype=np.uint8)
    bright = recolour(pixels, 1.2, 1.0, 1.0)
    assert bright[0, :, 0].tolist() == pytest.approx([120, 240], abs=1)
    flat = recolour(pixels, 1.0, 0.7, 1.0)
    assert flat[0, :, 0].tolist() == pytest.approx([115, 185], abs=1)
    grey = recolour(pixels, 1.0, 1.0, 1.3)
    assert np.abs(grey.astype(int) - pixels).max() <= 1  # grey has no colour to strengthen
    red = recolour(np.array([[[200, 100, 100]]], dtype=np.uint8), 1.0, 1.0, 0.7)
    assert red[0, 0].tolist() == pytest.approx([200 - 21, 100 + 9, 100 + 9], abs=1)


def test_photos_are_recoloured_by_up_to_30_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = training_photos(scene(tmp_path, region(RED, "a dog")))
    drawn: list[float] = []

    def spy(pixels: np.ndarray, *factors: float) -> np.ndarray:
        drawn.extend(factors)
        return recolour(pixels, *factors)

    monkeypatch.setattr("dcsearch.training.photos.recolour", spy)
    for epoch in range(30):
        seen[epoch, 0]
    assert len(drawn) == 90
    assert 0.7 <= min(drawn) < 0.8
    assert 1.2 < max(drawn) <= 1.3


def test_recolouring_stays_within_bytes() -> None:
    chance = random.Random(0)
    pixels = np.random.default_rng(0).integers(0, 256, size=(8, 9, 3), dtype=np.uint8)
    before = pixels.copy()
    for _ in range(20):
        changed = recolour(pixels, *(chance.uniform(0.7, 1.3) for _ in range(3)))
        assert changed.shape == pixels.shape
        assert changed.dtype == np.uint8
    assert (pixels == before).all()
    white = np.full((2, 2, 3), 255, dtype=np.uint8)
    assert (recolour(white, 1.3, 1.3, 1.3) >= 254).all()


@pytest.mark.parametrize(
    ("text", "tokens", "content"),
    [
        ("a red dog", [1, 3, 6], {3, 6}),
        ("the dog on a disc with a cup", [2, 6, 13, 1, 10], {6, 10}),  # cut to five
        ("on the", [13, 2], {13, 2}),  # nothing else is left to mean something
        ("a zebra", [1, 0], {0}),
        ("", [], set()),
    ],
)
def test_a_phrase_to_learn(text: str, tokens: list[int], content: set[int]) -> None:
    assert phrase_target(text, VOCABULARY, 5) == PhraseTarget(tokens, frozenset(content))


# batches

SIZES = [(128, 96), (96, 128), (128, 96), (128, 96), (96, 128), (128, 96), (128, 96), (64, 64)]


def batches(
    *,
    start: int = 0,
    steps: int = 20,
    batch: int = 2,
    seed: int = 0,
    weights: list[float] | None = None,
) -> Batches:
    return Batches(SIZES, batch=batch, seed=seed, start=start, steps=steps, weights=weights)


def test_weights_of_one_draw_as_none_do() -> None:
    assert list(batches(weights=[1.0] * 8)) == list(batches())


def test_photos_come_as_often_as_their_weights_say() -> None:
    weights = [1.0, 2.0, 0.25, 0.5, 1.75, 3.2, 0.0, 1.0]
    drawn = batches(batch=1, weights=weights)
    counts: Counter[int] = Counter()
    for epoch in range(400):
        own = Counter(index for batch in drawn.epoch(epoch) for _, index in batch)
        for index, weight in enumerate(weights):
            assert own[index] in (math.floor(weight), math.ceil(weight))
        counts += own
    for index, weight in enumerate(weights):
        assert counts[index] / 400 == pytest.approx(weight, abs=0.08)
    whole = list(batches(weights=weights))
    assert list(batches(weights=weights, start=7)) == whole[7:]
    assert all(len({SIZES[index] for _, index in batch}) == 1 for batch in whole)


def test_batches_hold_photos_of_one_shape_and_each_photo_once_an_epoch() -> None:
    for epoch in range(5):
        of_epoch = batches().epoch(epoch)
        for batch in of_epoch:
            assert len({SIZES[index] for _, index in batch}) == 1
            assert len(batch) == 2 or SIZES[batch[0][1]] == (64, 64)
            assert {number for number, _ in batch} == {epoch}
        seen = [index for batch in of_epoch for _, index in batch]
        assert len(seen) == len(set(seen))
        assert 7 in seen  # the only one of its shape
        assert len(seen) == 2 + 4 + 1  # one of five waits


def test_every_photo_has_its_turn() -> None:
    seen = {index for epoch in range(20) for b in batches().epoch(epoch) for _, index in b}
    assert seen == set(range(8))


def test_a_later_start_yields_the_same_batches_from_there_on() -> None:
    every = list(batches())
    assert len(every) == len(batches()) == 20
    for start in (1, 3, 4, 11, 19, 20):
        assert list(batches(start=start)) == every[start:]
        assert len(batches(start=start)) == 20 - start


def test_more_steps_begin_with_the_same_batches() -> None:
    assert list(batches(steps=50))[:20] == list(batches())


def test_batches_depend_on_the_seed_and_the_epoch() -> None:
    assert list(batches()) == list(batches())
    assert list(batches()) != list(batches(seed=1))
    orders = {str([[index for _, index in b] for b in batches().epoch(e)]) for e in range(6)}
    assert len(orders) == 6


def test_a_batch_larger_than_all_photos_of_a_shape_takes_what_there_is() -> None:
    sizes = sorted(len(batch) for batch in batches(batch=100).epoch(0))
    assert sizes == [1, 2, 5]


def test_parts_of_a_batch_are_shared_out() -> None:
    """Two processes with two parts each have what one with all four has."""

    def own(*parts: int, batch: int = 4) -> list[list[tuple[int, int]]]:
        return list(
            Batches(
                SIZES[:7], batch=batch, seed=0, start=1, steps=6,
                parts=4, own=range(parts[0], parts[-1] + 1),
            )
        )  # fmt: skip

    whole = batches(batch=4, start=1, steps=6)
    whole.sizes = SIZES[:7]
    every = own(0, 1, 2, 3)
    assert len(every) == len(Batches(SIZES, batch=4, seed=0, start=1, steps=6, own=range(4))) == 20
    first, second = own(0, 1), own(2, 3)
    for step, batch in enumerate(whole):
        parts = every[4 * step : 4 * step + 4]
        assert first[2 * step : 2 * step + 2] + second[2 * step : 2 * step + 2] == parts
        assert {len(part) for part in parts} == {1}
        spread = [key for part in parts for key in part]
        assert spread[: len(batch)] == batch
        assert set(spread) == set(batch)  # two landscapes of a batch of four come twice


def test_collating_stacks_photos_and_lists_targets() -> None:
    targets = [Target(torch.zeros(count, 4), phrases(count)) for count in (2, 0)]
    photos = [torch.full((3, 4, 5), value, dtype=torch.uint8) for value in (1, 2)]
    pixels, collated = collate(list(zip(photos, targets, strict=True)))
    assert pixels.shape == (2, 3, 4, 5)
    assert pixels[:, 0, 0, 0].tolist() == [1, 2]
    assert cast(Any, collated) == targets
