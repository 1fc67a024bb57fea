"""Describer: regions in the photo's own pixels, one photo like many, and captions or none."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageDraw

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.describe import Describer, Description, PreparedPhoto
from dcsearch.errors import Cure, UsageError
from dcsearch.model import presets
from dcsearch.model.config import FCLNConfig
from dcsearch.model.fcln import FCLN
from dcsearch.vocabulary import UNKNOWN, Vocabulary
from tests.conftest import WORDS


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Coloured discs on a background, different for every seed."""
    chance = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(map(int, chance.integers(0, 256, 3))))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = int(chance.integers(0, width)), int(chance.integers(0, height))
        radius = 2 + int(chance.integers(0, max(1, min(width, height) // 3)))
        colour = tuple(map(int, chance.integers(0, 256, 3)))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return image


@pytest.fixture
def checkpoint(tiny_checkpoint: Checkpoint) -> Checkpoint:
    """The tiny network on photos large enough to keep their proportions."""
    config = tiny_checkpoint.config.replace(photo_side=192)
    return dataclasses.replace(tiny_checkpoint, config=config)


@pytest.fixture
def describer(checkpoint: Checkpoint) -> Describer:
    return Describer(checkpoint, device="cpu", regions=12)


def assert_alike(one: Description, other: Description) -> None:
    assert (one.width, one.height) == (other.width, other.height)
    assert one.captions == other.captions
    assert_allclose(one.boxes, other.boxes, rtol=1e-4, atol=1e-2)
    assert_allclose(one.objectness, other.objectness, rtol=1e-4, atol=1e-5)
    assert_allclose(one.codes, other.codes, rtol=1e-2, atol=1e-2)


SHAPES = [(400, 300), (300, 400), (200, 150), (50, 50), (700, 200), (400, 300)]


def test_photos_together_are_photos_one_at_a_time_in_their_order(describer: Describer) -> None:
    prepared = [describer.prepare(photo(*shape, seed=seed)) for seed, shape in enumerate(SHAPES)]
    assert len({p.pixels.shape for p in prepared}) > 2  # several batches
    together = describer.describe(prepared)
    assert len(together) == len(prepared)
    for one, many in zip(prepared, together, strict=True):
        (alone,) = describer.describe([one])
        assert_alike(alone, many)
    assert len({d.captions for d in together}) > 1  # the network tells photos apart


def test_a_description_holds_what_it_promises(describer: Describer) -> None:
    for seed, (width, height) in enumerate(SHAPES):
        (found,) = describer.describe([describer.prepare(photo(width, height, seed))])
        count = len(found.boxes)
        assert 0 < count <= 12
        assert (found.width, found.height) == (width, height)
        assert found.boxes.shape == (count, 4)
        assert found.boxes.dtype == found.objectness.dtype == np.float32
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, 0::2] <= width).all()
        assert (found.boxes[:, 1::2] <= height).all()
        assert (found.boxes[:, 2:] >= found.boxes[:, :2]).all()
        assert (found.objectness > 0).all()
        assert (found.objectness < 1).all()
        assert (np.diff(found.objectness) <= 0).all()
        assert found.codes.shape == (count, describer.code_size)
        assert found.codes.dtype == np.float16
        assert len(found.captions) == count
        words = {word for caption in found.captions for word in caption.split()}
        assert words <= set(WORDS) - {UNKNOWN}


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_lanes_describe_what_one_does_and_leave_the_threads_as_they_were(
    threads: int, describer: Describer
) -> None:
    prepared = [describer.prepare(photo(*shape, seed=seed)) for seed, shape in enumerate(SHAPES)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = describer.describe(prepared)
        torch.set_num_threads(threads)
        together = describer.describe(prepared)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for one, many in zip(alone, together, strict=True):
        assert_alike(one, many)


def test_an_error_in_a_lane_is_the_callers(
    describer: Describer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    before = torch.get_num_threads()
    monkeypatch.setattr(describer, "_model", fail)
    try:
        torch.set_num_threads(2)
        with pytest.raises(MemoryError):
            describer.describe([describer.prepare(photo(64, 48, seed)) for seed in range(4)])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_no_photos_have_no_descriptions(describer: Describer) -> None:
    assert describer.describe([]) == []


def test_boxes_are_in_the_pixels_of_the_photo_and_not_of_the_network(describer: Describer) -> None:
    small = photo(192, 128)  # as the network sees it
    large = small.resize((1920, 1280), Image.Resampling.NEAREST)
    prepared = describer.prepare(small)
    (near,) = describer.describe([prepared])
    (far,) = describer.describe([PreparedPhoto(pixels=prepared.pixels, width=1920, height=1280)])
    assert_allclose(far.boxes, near.boxes * 10, rtol=1e-5)
    assert far.captions == near.captions
    assert describer.prepare(large).pixels.shape == prepared.pixels.shape


def test_a_squashed_file_is_restored_to_its_frame(describer: Describer) -> None:
    squashed = photo(224, 224)
    prepared = describer.prepare(squashed, frame=(500, 333))
    assert prepared.pixels.shape == (3, 128, 192)
    assert (prepared.width, prepared.height) == (500, 333)
    (found,) = describer.describe([prepared])
    assert found.boxes[:, 2].max() > 224  # boxes live in the frame
    assert (found.boxes[:, 2] <= 500).all()
    assert (found.boxes[:, 3] <= 333).all()


def test_pixels_of_a_prepared_photo_are_red_green_and_blue_planes(describer: Describer) -> None:
    image = Image.new("RGB", (192, 128), (10, 20, 30))
    image.paste((200, 100, 50), (0, 0, 96, 128))  # the left half
    pixels = describer.prepare(image).pixels
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (3, 128, 192)
    assert pixels[:, 64, 10].tolist() == [200, 100, 50]
    assert pixels[:, 64, 180].tolist() == [10, 20, 30]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_a_photo_of_another_mode_is_seen_in_colour(mode: str, describer: Describer) -> None:
    assert describer.prepare(photo(192, 128).convert(mode)).pixels.shape == (3, 128, 192)


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (31, 33)])
def test_strange_photos_are_described(size: tuple[int, int], describer: Describer) -> None:
    (found,) = describer.describe([describer.prepare(photo(*size))])
    assert (found.width, found.height) == size
    assert len(found.boxes) > 0
    assert (found.boxes <= np.array(size * 2)).all()


def test_the_draft_of_a_photo_is_what_the_network_sees(describer: Describer) -> None:
    assert describer.draft_size(4000, 2700) == (192, 128)
    prepared = describer.prepare(photo(400, 300))
    assert prepared.pixels.shape[1:] == describer.draft_size(400, 300)[::-1]


def test_threads_prepare_the_same_pixels(describer: Describer) -> None:
    images = [photo(300 + seed, 200, seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as threads:
        prepared = list(threads.map(describer.prepare, images))
    for image, ready in zip(images, prepared, strict=True):
        assert torch.equal(ready.pixels, describer.prepare(image).pixels)


def test_fewer_regions_are_the_best_of_more(checkpoint: Checkpoint) -> None:
    prepared = [Describer(checkpoint).prepare(photo(400, 300))]
    (many,) = Describer(checkpoint, regions=10).describe(prepared)
    (few,) = Describer(checkpoint, regions=3).describe(prepared)
    assert len(few.boxes) == 3
    assert_array_equal(few.boxes, many.boxes[:3])
    assert few.captions == many.captions[:3]


def test_without_captions_nothing_is_decoded_and_all_else_is_the_same(
    describer: Describer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = [describer.prepare(photo(*shape)) for shape in SHAPES[:2]]
    spoken = describer.describe(prepared)

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(describer.checkpoint.model.language, "describe", refuse)
    for quiet, own in zip(describer.describe(prepared, captions=False), spoken, strict=True):
        assert quiet.captions == ("",) * len(own.captions)
        assert_array_equal(quiet.boxes, own.boxes)
        assert_array_equal(quiet.codes, own.codes)


def test_each_photo_gets_its_own_captions(describer: Describer) -> None:
    """Regions of photos in one batch are decoded together, whatever their numbers."""
    prepared = [describer.prepare(photo(400, 300, seed)) for seed in range(4)]
    decode = describer.checkpoint.vocabulary.decode
    model = describer.checkpoint.model
    for found in describer.describe(prepared):
        codes = torch.from_numpy(found.codes).float()
        tokens = model.language.describe(
            codes, most=model.config.language.longest_caption, never=(0,)
        )
        same = [decode(own) == caption for own, caption in zip(tokens, found.captions, strict=True)]
        assert np.mean(same) > 0.8  # codes are stored as halves, which may turn a close choice


def test_a_described_photo_leaves_no_graph_and_no_shared_memory(describer: Describer) -> None:
    (found,) = describer.describe([describer.prepare(photo(192, 128))])
    before = found.boxes.copy()
    describer.describe([describer.prepare(photo(192, 128, seed=9))])
    assert_array_equal(found.boxes, before)


def test_at_least_one_region_must_be_wanted(checkpoint: Checkpoint) -> None:
    with pytest.raises(ValueError, match="regions must be at least 1, got 0"):
        Describer(checkpoint, regions=0)


def test_an_unknown_device_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError, match="no device 'tpu'; choose auto, cpu or cuda"):
        Describer(checkpoint, device="tpu")


# given boxes


def boxes_of(width: int, height: int, count: int, seed: int = 0) -> np.ndarray:
    """Boxes (count, 4) inside a photo, of a pixel or more."""
    chance = np.random.default_rng(seed)
    low = chance.uniform(0, 0.7, (count, 2)) * (width, height)
    high = low + np.maximum(1, chance.uniform(0, 0.3, (count, 2)) * (width, height))
    return np.hstack([low, high]).astype(np.float32)


def rows(values: np.ndarray) -> np.ndarray:
    """Rows in an order of their own."""
    return values[np.lexsort(values.T[::-1])]


def test_boxes_given_come_back_as_they_are_in_the_photos_frame_surest_first(
    describer: Describer,
) -> None:
    for seed, (width, height) in enumerate(SHAPES):
        given = boxes_of(width, height, 40, seed)  # more than the describer would keep
        given[1] = given[0]  # neither twins
        given[2] = given[0] + 0.25  # nor near ones are suppressed
        given[3] = [0, 0, width, height]
        given[4] = [5, 5, 5.5, 5.5]  # nor is a small one left out
        (found,) = describer.recognise([describer.prepare(photo(width, height, seed))], [given])
        assert (found.width, found.height) == (width, height)
        assert found.boxes.dtype == found.objectness.dtype == np.float32
        assert_allclose(rows(found.boxes), rows(given), rtol=1e-5, atol=1e-3)
        assert (np.diff(found.objectness) <= 0).all()
        assert ((found.objectness > 0) & (found.objectness < 1)).all()
        assert found.codes.shape == (40, describer.code_size)
        assert found.codes.dtype == np.float16
        assert len(found.captions) == 40
        assert (found.boxes <= [width, height, width, height]).all()


def test_each_given_box_keeps_its_objectness_code_and_caption(describer: Describer) -> None:
    prepared, given = describer.prepare(photo(400, 300)), boxes_of(400, 300, 12)
    (found,) = describer.recognise([prepared], [given])
    assert len(set(found.captions)) > 1
    for place, box in enumerate(found.boxes):
        (alone,) = describer.recognise([prepared], [box[None]])
        assert_allclose(alone.objectness, found.objectness[place : place + 1], rtol=1e-2, atol=1e-3)
        assert_allclose(alone.codes[0], found.codes[place], rtol=2e-2, atol=5e-2)


def test_what_the_network_found_is_recognised_as_it_was_found(describer: Describer) -> None:
    """Boxes of the localization layer are given to the same recognition."""
    prepared = [describer.prepare(photo(*shape, seed=seed)) for seed, shape in enumerate(SHAPES)]
    proposed = describer.describe(prepared, moved=False)
    recognised = describer.recognise(prepared, [own.boxes for own in proposed])
    for found, expected in zip(recognised, proposed, strict=True):
        assert_allclose(found.objectness, expected.objectness, rtol=1e-2, atol=1e-2)
        assert_allclose(rows(found.boxes), rows(expected.boxes), rtol=1e-4, atol=1e-2)


def test_given_boxes_of_many_photos_are_those_of_one_at_a_time(checkpoint: Checkpoint) -> None:
    describer = Describer(checkpoint, device="cpu", bfloat16=False)
    prepared = [describer.prepare(photo(*shape, seed=seed)) for seed, shape in enumerate(SHAPES)]
    counts = (3, 0, 17, 1, 2, 5)
    given = [boxes_of(*shape, n, seed=n) for shape, n in zip(SHAPES, counts, strict=True)]
    together = describer.recognise(prepared, given)
    assert tuple(len(found.boxes) for found in together) == counts
    for one, own, many in zip(prepared, given, together, strict=True):
        (alone,) = describer.recognise([one], [own])
        assert_alike(alone, many)


@pytest.mark.parametrize("none", [np.zeros((0, 4), dtype=np.float32), np.zeros(0), []])
def test_no_boxes_given_are_no_regions(none: np.ndarray, describer: Describer) -> None:
    (found,) = describer.recognise([describer.prepare(photo(50, 60))], [none])
    assert found.boxes.shape == (0, 4)
    assert found.objectness.shape == (0,)
    assert found.captions == ()
    assert found.codes.shape == (0, describer.code_size)
    assert describer.recognise([], []) == []


def test_given_boxes_may_be_of_any_kind_and_stay_as_they_were(describer: Describer) -> None:
    prepared, plain = describer.prepare(photo(400, 300)), boxes_of(400, 300, 4).round()
    (expected,) = describer.recognise([prepared], [plain])
    for given in (plain.astype(np.float64), plain.astype(np.int64), np.asfortranarray(plain)):
        before = given.copy()
        (found,) = describer.recognise([prepared], [given])
        assert_array_equal(found.boxes, expected.boxes)
        assert_array_equal(given, before)


def test_given_boxes_without_captions_are_not_decoded(
    describer: Describer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, given = [describer.prepare(photo(400, 300))], [boxes_of(400, 300, 4)]
    (spoken,) = describer.recognise(prepared, given)

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(describer.checkpoint.model.language, "describe", refuse)
    (quiet,) = describer.recognise(prepared, given, captions=False)
    assert quiet.captions == ("",) * 4
    assert_array_equal(quiet.codes, spoken.codes)


def test_boxes_that_are_not_moved_are_those_of_the_localization_layer(
    checkpoint: Checkpoint,
) -> None:
    model = checkpoint.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # or final boxes would not move
        torch.nn.init.normal_(model.recognition.offsets.weight, std=0.05)
    describer = Describer(checkpoint, device="cpu", regions=12, bfloat16=False)
    prepared = describer.prepare(photo(400, 300))
    height, width = prepared.pixels.shape[1:]
    with torch.no_grad():
        candidates = model.localization(model.features(prepared.pixels[None]))
        proposals = model.proposals(candidates, 0, width=width, height=height).numpy()
    proposals *= np.tile([400 / width, 300 / height], 2)
    (still,) = describer.describe([prepared], moved=False)
    (moved,) = describer.describe([prepared])
    assert 0 < len(still.boxes) <= 12
    assert (np.diff(still.objectness) <= 0).all()

    def distance(found: np.ndarray) -> np.ndarray:
        """Of each box to the nearest proposal."""
        nearest: np.ndarray = np.abs(found[:, None] - proposals).max(axis=2).min(axis=1)
        return nearest

    assert distance(still.boxes).max() < 0.05
    assert distance(moved.boxes).max() > 1


def test_a_describer_folds_what_it_runs_and_leaves_the_weights_alone(
    checkpoint: Checkpoint,
) -> None:
    before = {name: value.clone() for name, value in checkpoint.model.state_dict().items()}
    pixels = torch.stack([Describer(checkpoint).prepare(photo(400, 300)).pixels])
    backbone = checkpoint.model.backbone
    with torch.no_grad():
        folded = backbone(backbone.normalise(pixels))
        backbone.fold(0)
        plain = backbone(backbone.normalise(pixels))
    torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-4 * float(plain.max()))
    after = checkpoint.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("made", [presets.reference, presets.paper])
def test_the_papers_network_describes_photos_of_any_proportions(
    made: Callable[[], FCLNConfig],
) -> None:
    config = made().replace(
        photo_side=96, anchor_shapes=((24, 24), (40, 30)), proposal_hidden=4, grid=2,
        recognition_hidden=8, code_size=8, encoded_size=6, language_hidden=4, proposals=20,
    )  # fmt: skip
    torch.manual_seed(0)
    model = FCLN(config, words=len(WORDS)).eval()
    torch.nn.init.normal_(model.localization.offsets.weight, std=0.1)
    torch.nn.init.normal_(model.recognition.offsets.weight, std=0.1)
    describer = Describer(
        Checkpoint(
            name="tiny vgg", sha256="", config=config, vocabulary=Vocabulary(WORDS), provenance={},
            model=model,
        ),
        device="cpu",
    )  # fmt: skip
    for width, height in ((200, 133), (70, 96), (300, 20), (9, 500)):
        prepared = describer.prepare(photo(width, height))
        assert tuple(prepared.pixels.shape[:0:-1]) == config.features.photo_size(width, height)
        (found,) = describer.describe([prepared])
        assert len(found.boxes) == len(found.captions) > 0
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, 2] <= width).all()
        assert (found.boxes[:, 3] <= height).all()
        assert (found.boxes[:, :2] < found.boxes[:, 2:]).all()


# devices


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_that_is_not_there_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError, match=r"^no CUDA device is available$") as caught:
        Describer(checkpoint, device="cuda")
    assert caught.value.cure is Cure.USE_CPU
    assert Describer(checkpoint, device="auto").device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_sees_what_a_cpu_sees(checkpoint: Checkpoint) -> None:
    prepared = [Describer(checkpoint, device="cpu").prepare(photo(400, 300))]
    (slow,) = Describer(checkpoint, device="cpu").describe(prepared)
    (fast,) = Describer(checkpoint, device="cuda").describe(prepared)
    assert_allclose(fast.boxes[:3], slow.boxes[:3], rtol=1e-2, atol=1.0)
    assert_allclose(fast.objectness[:3], slow.objectness[:3], rtol=1e-2, atol=1e-2)
