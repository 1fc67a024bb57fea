"""Dense captioning: photos whose boxes and captions are few enough to count on graph paper."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, cast

import numpy as np
import pytest

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.describe import Description
from dcsearch.errors import DataError, UsageError
from dcsearch.evaluation.captions import (
    METEORS,
    OVERLAPS,
    PROTOCOLS,
    RANKS,
    evaluate_captions,
    joint_scores,
)
from dcsearch.evaluation.merging import merge_boxes
from dcsearch.evaluation.report import Report
from dcsearch.scoring.phrase import read_phrase
from dcsearch.scoring.torch_engine import TorchEngine

Box = tuple[float, float, float, float]
SIDE = 720  # the frame of the reference, so that its scale is 1
# Odd sides, for the reference moves the centre of even ones by half a pixel.
A, B, C = (0.0, 0.0, 101.0, 101.0), (200.0, 0.0, 301.0, 101.0), (400.0, 400.0, 501.0, 501.0)
A_HALF = (0.0, 0.0, 101.0, 50.5)  # IoU 1/2 with A
FAR = (600.0, 600.0, 650.0, 650.0)


class Told:
    """Scores some pairs as it is told; equal texts score 1 and all others 0."""

    def __init__(self, scores: Mapping[tuple[str, str], float] | None = None) -> None:
        self.scores = scores or {}

    def __call__(self, asked: Sequence[tuple[str, Sequence[str]]]) -> list[float]:
        return [max((self.score(text, o) for o in others), default=0.0) for text, others in asked]

    def score(self, text: str, other: str) -> float:
        return self.scores.get((text, other), float(text == other))


class Seen(NamedTuple):
    """A region that is said to be found."""

    box: Box
    caption: str
    objectness: float = 0.5


def photo(*regions: tuple[Box, str], side: int = SIDE, name: str = "photo.jpg") -> AnnotatedPhoto:
    """An annotated photo; a text with commas is several phrases."""
    return AnnotatedPhoto(
        path=Path(name),
        width=side,
        height=side,
        regions=tuple(
            AnnotatedRegion(box=box, phrases=tuple(text.split(", ")), long_phrases=(), kind="")
            for box, text in regions
        ),
        captions=(),
    )


def description(*seen: Seen, side: int = SIDE) -> Description:
    return Description(
        width=side,
        height=side,
        boxes=np.array([s.box for s in seen], dtype=np.float32).reshape(-1, 4),
        objectness=np.array([s.objectness for s in seen], dtype=np.float32),
        captions=tuple(s.caption for s in seen),
        codes=np.zeros((len(seen), 2), dtype=np.float16),
    )


def evaluate(
    photos: Sequence[AnnotatedPhoto],
    described: Sequence[Description],
    meteor: Told | None = None,
    **options: object,
) -> Report:
    return evaluate_captions(
        photos,
        described,
        cast(Checkpoint, SimpleNamespace(name="tiny", sha256="0" * 64)),
        meteor=meteor or Told(),
        **options,  # type: ignore[arg-type]
    )


def figures(report: Report) -> tuple[float, float, float]:
    """mAP, detection mAP, language METEOR."""
    return tuple(report.value(c) for c in ("mAP", "detection mAP", "language METEOR"))  # type: ignore[return-value]


# One photo. At IoU .3, .4 and .5 the ranking is + - + of three: 34 levels of precision 1 and 33 of
# 2/3. At .6 and .7 only the first is right: 34 levels of precision 1. The third caption's METEOR of
# 1/8 passes three of six thresholds.
ONE = photo((C, "a cup"), (A, "a red dog"), (B, "a man"))
ONE_SEEN = description(
    Seen(C, "a cup", 0.9), Seen(C, "a cup again", 0.8), Seen(A_HALF, "a dog", 0.7)
)
ONE_SAID = Told({("a dog", "a red dog"): 1 / 8, ("a cup again", "a cup"): 1 / 2})


@pytest.mark.parametrize(("protocol", "levels"), [("fixed", 101), ("reference", 100)])
def test_one_photo_counted_by_hand(protocol: str, levels: int) -> None:
    report = evaluate([ONE], [ONE_SEEN], ONE_SAID, protocol=protocol)
    assert figures(report) == pytest.approx(
        (
            (3 * 3 * 56 + 3 * 3 * 34 + 2 * 6 * 34) / levels / 30,
            (3 * 56 + 2 * 34) / levels / 5,
            (1 + 1 / 2 + 1 / 8) / 3,
        )
    )
    (heat,) = report.heat_maps
    assert (heat.x, heat.y) == (OVERLAPS, METEORS)
    assert np.array(heat.values) == pytest.approx(
        np.array([[56, 56, 56, 34, 34]] * 3 + [[34] * 5] * 3) / levels
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_oracle_reaches_one(protocol: str) -> None:
    chance = np.random.default_rng(0)
    photos, described = [], []
    for number in range(12):
        low = chance.integers(0, 400, size=(4, 2)).astype(float)
        boxes = np.hstack([low, low + 2 * chance.integers(20, 150, size=(4, 2)) + 1])
        boxes = np.vstack([boxes, boxes[0] + [0, 0, 2, 2]])  # merged with the first
        texts = [f"thing {number} {place}" for place in range(5)]
        photos.append(photo(*((tuple(b), t) for b, t in zip(boxes.tolist(), texts, strict=True))))
        merged = merge_boxes(boxes, [[text] for text in texts])
        found = zip(merged.boxes.tolist(), merged.references, strict=True)
        seen = [Seen(tuple(box), own[-1], chance.uniform(0.1, 0.9)) for box, own in found]
        described.append(description(*seen))
    assert figures(evaluate(photos, described, protocol=protocol)) == (1, 1, 1)


def test_regions_of_all_photos_are_ranked_together() -> None:
    photos = [photo((A, "a cat")), photo((B, "a dog"))]
    seen = [description(Seen(A, "a cat", 0.6)), description(Seen(C, "x", 0.9), Seen(B, "x", 0.3))]
    # Boxes: - + + of two, 2/3 at every level. Captions: - + -, 1/2 at levels 0 to .5.
    assert figures(evaluate(photos, seen)) == pytest.approx((51 / 2 / 101, 2 / 3, 1 / 3))


def test_equal_objectness_does_not_let_the_order_of_photos_tell() -> None:
    photos = [photo((A, "a cat")), photo((B, "a dog"))]
    seen = [description(Seen(A, "a cat")), description(Seen(C, "a cup"))]
    tied, first = 51 / 2 / 101, 51 / 100  # precision 1/2, or 1, at recall 1/2
    for order in (slice(None), slice(None, None, -1)):
        assert evaluate(photos[order], seen[order]).value("mAP") == pytest.approx(tied)
    report = evaluate(photos, seen, protocol="reference")
    assert report.value("mAP") == pytest.approx(first)
    report = evaluate(photos[::-1], seen[::-1], protocol="reference")
    assert report.value("mAP") == pytest.approx(first / 2)


def test_a_stray_region_takes_the_last_box_in_the_reference_and_none_in_ours() -> None:
    truth = photo((A, "a cat"), (B, "a dog"))
    last = description(Seen(FAR, "a cup", 0.9), Seen(B, "a dog", 0.8))
    other = description(Seen(FAR, "a cup", 0.9), Seen(A, "a cat", 0.8))
    half = 51 / 2  # levels 0 to .5 with precision 1/2
    assert evaluate([truth], [last]).value("detection mAP") == pytest.approx(half / 101)
    assert evaluate([truth], [last], protocol="reference").value("detection mAP") == 0
    report = evaluate([truth], [other], protocol="reference")
    assert report.value("detection mAP") == pytest.approx(half / 100)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_region_takes_its_box_even_where_they_hardly_overlap(protocol: str) -> None:
    grazing = Seen((100, 100, 150, 150), "a cat", 0.9)
    report = evaluate(
        [photo((A, "a cat"))], [description(grazing, Seen(A, "a cat", 0.8))], protocol=protocol
    )
    assert figures(report) == (0, 0, 1)


def test_boxes_that_lie_upon_one_another_are_one_with_both_references() -> None:
    near = (0.0, 0.0, 101.0, 99.0)
    truth = photo((A, "a cat"), (near, "a kitten"))
    seen = description(Seen(A, "a kitten", 0.9), Seen(near, "a cat", 0.8))
    # The mean takes the first; the second comes too late, at a recall of 1.
    report = evaluate([truth], [seen])
    assert figures(report) == (1, 1, 1)
    assert report.notes[0] == "2 annotated boxes were merged into 1; 2 regions were found."
    assert len(report.notes) == 2
    late = description(Seen(A, "a dog", 0.9), Seen(near, "a cat", 0.8))
    assert figures(evaluate([truth], [late])) == (0, 1, 1 / 2)


def test_a_caption_must_score_more_than_the_threshold() -> None:
    seen = [description(Seen(A, "a cat"))]
    for score, passed in ((0.0, 0), (0.15, 3), (0.16, 4), (0.25, 5), (0.26, 6)):
        said = Told({("a cat", "a dog"): score})
        report = evaluate([photo((A, "a dog"))], seen, said)
        assert report.value("mAP") == pytest.approx(passed / 6)


def test_the_order_of_regions_is_that_of_objectness() -> None:
    truth, seen = photo((A, "a cat")), (Seen(A_HALF, "a dog", 0.2), Seen(A, "a cat", 0.7))
    assert figures(evaluate([truth], [description(*seen)])) == (1, 1, 1 / 2)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_photos_without_annotation_or_without_regions_count(protocol: str) -> None:
    photos = [photo((A, "a cat")), photo(), photo((B, "a dog"))]
    seen = [description(Seen(A, "a cat", 0.4)), description(Seen(A, "a cat", 0.9)), description()]
    # - + of two; language METEOR is that of the first photo alone.
    levels = 101 if protocol == "fixed" else 100
    report = evaluate(photos, seen, protocol=protocol)
    assert figures(report) == pytest.approx((51 / 2 / levels, 51 / 2 / levels, 1))


def test_nothing_found_at_all_is_zero_and_said() -> None:
    report = evaluate([photo((A, "a cat"))], [description()])
    assert figures(report) == (0, 0, 0)
    assert report.notes[2:] == (
        "No region covers an annotated box; make sure that both are in one frame.",
        "No region has a caption.",
    )


def test_without_anything_annotated_there_is_no_figure() -> None:
    for photos, seen in (([], []), ([photo((A, "?!"))], [description(Seen(A, "a cat"))])):
        with pytest.raises(DataError, match="no photo has a region with a phrase"):
            evaluate(photos, seen)


def test_references_are_read_as_the_model_reads_words() -> None:
    assert (
        evaluate([photo((A, "A T-Shirt!"))], [description(Seen(A, "a tshirt"))]).value("mAP") == 1
    )


def test_long_phrases_are_references_on_demand_and_where_there_is_no_other() -> None:
    both = photo((A, "a cat"))
    both = dataclasses.replace(
        both, regions=(dataclasses.replace(both.regions[0], long_phrases=("a cat on a mat",)),)
    )
    only = dataclasses.replace(both, regions=(dataclasses.replace(both.regions[0], phrases=()),))
    seen = [description(Seen(A, "a cat on a mat"))]
    assert [evaluate([p], seen).value("mAP") for p in (both, only)] == [0, 1]
    assert evaluate([both], seen, long_phrases=True).value("mAP") == 1
    assert evaluate([both], seen, long_phrases=True).settings["long phrases"] is True


def test_the_reference_rounds_annotated_boxes_to_pixels_of_its_frame() -> None:
    # Of 1440 pixels, so the scale is 1/2: 3 to 9 becomes pixel 3 (round 1.5, from 1 on) and 3 long,
    # the region's edges 2.5 and 5.5: they share 2.5 of 3.5 along each side, IoU .51.
    box = (3.0, 3.0, 9.0, 9.0)
    truth, seen = photo((box, "a dot"), side=1440), description(Seen(box, "a dot"), side=1440)
    assert evaluate([truth], [seen]).value("mAP") == 1
    report = evaluate([truth], [seen], protocol="reference")
    assert report.heat_maps[0].values == ((1, 1, 1, 0, 0),) * 6


def port(
    photos: Sequence[AnnotatedPhoto], described: Sequence[Description], meteor: Told
) -> tuple[float, float]:
    """The reference written as a plain loop over (xc, yc, w, h) and inclusive corners."""

    def corners(xc: float, yc: float, w: float, h: float) -> Box:
        return (xc - (w - 1) / 2, yc - (h - 1) / 2, xc + (w - 1) / 2, yc + (h - 1) / 2)

    def iou(a: Box, b: Box) -> float:
        wide = min(a[2], b[2]) - max(a[0], b[0]) + 1
        high = min(a[3], b[3]) - max(a[1], b[1]) + 1
        if wide <= 0 or high <= 0:
            return 0.0
        areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
        return wide * high / (sum(areas) - wide * high)

    records, positives = [], 0
    for own, seen in zip(photos, described, strict=True):
        scale = 720 / max(own.width, own.height)
        boxes = []
        for region in own.regions:
            x0, y0, x1, y1 = region.box  # which a 1-based x, y would call x0 + 1, y0 + 1
            x, y = int(scale * x0 + 1.5), int(scale * y0 + 1.5)
            w, h = int(scale * (x1 - x0) + 0.5), int(scale * (y1 - y0) + 0.5)
            x, y = min(max(x, 1), 719), min(max(y, 1), 719)
            w, h = min(w, 720 - x), min(h, 720 - y)
            boxes.append(corners(x + w // 2, y + h // 2, w, h))
        near = [[i == j or iou(a, b) >= 0.7 for j, b in enumerate(boxes)]
                for i, a in enumerate(boxes)]  # fmt: skip
        truth: list[tuple[Box, list[str]]] = []
        while any(map(any, near)):
            most = max(near, key=sum)
            group = [index for index, same in enumerate(most) if same]
            mean = np.mean([boxes[index] for index in group], axis=0).tolist()
            texts = [text for index in group for text in own.regions[index].phrases]
            truth.append((tuple(mean), texts))
            near = [[s and i not in group and j not in group for j, s in enumerate(row)]
                    for i, row in enumerate(near)]  # fmt: skip
        used = [False] * len(truth)
        positives += len(truth)
        for n in sorted(range(len(seen.boxes)), key=lambda n: -seen.objectness[n]):
            x0, y0, x1, y1 = (scale * float(edge) for edge in seen.boxes[n])
            box = corners((x0 + x1) / 2 + 0.5, (y0 + y1) / 2 + 0.5, x1 - x0, y1 - y0)
            best, nearest = 0.0, -1
            for place, (other, _) in enumerate(truth):
                if iou(box, other) > best:
                    best, nearest = iou(box, other), place
            ok = not used[nearest]
            used[nearest] = True
            texts = truth[nearest][1] if best > 0 else []
            (score,) = meteor([(seen.captions[n], texts)])
            records.append((float(seen.objectness[n]), best, ok, score))
    records.sort(key=lambda record: -record[0])

    def precision(least: float, more: float) -> float:
        right, curve = 0, []
        for count, (_, overlap, ok, score) in enumerate(records, start=1):
            right += ok and overlap >= least and score > more
            curve.append((right, right / count))
        return sum(
            max(value for found, value in [*curve, (positives, 0)] if 100 * found >= k * positives)
            for k in range(100)
        ) / 100  # fmt: skip

    pairs = itertools.product(OVERLAPS, METEORS)
    return (
        sum(precision(*pair) for pair in pairs) / 30,
        sum(precision(least, -1) for least in OVERLAPS) / 5,
    )


def test_the_reference_is_a_plain_loop_over_inclusive_corners() -> None:
    chance = np.random.default_rng(1)
    words = [f"{a} {b}" for a in ("red", "blue", "old") for b in ("dog", "cat", "cup")]
    said = Told({(a, b): chance.choice([0, 0.05, 0.12, 0.3, 0.9]) for a in words for b in words})
    photos, described = [], []
    for _ in range(15):
        low = chance.uniform(0, 300, size=(6, 2))
        boxes = np.hstack([low, low + chance.uniform(1, 200, size=(6, 2))])
        boxes = np.vstack([boxes, boxes[:2] + chance.uniform(0, 6, size=(2, 4))])
        found = np.clip(boxes + chance.normal(0, 9, size=(8, 4)), 0, 512)
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        found[-1] = (505, 505, 511, 511)  # overlaps nothing
        own = photo(*((tuple(b), chance.choice(words)) for b in boxes.tolist()), side=512)
        photos.append(dataclasses.replace(own, height=520))
        scores = chance.permutation(8) / 10 + chance.uniform(0.01, 0.09)
        seen = description(*(
            Seen(tuple(b), chance.choice(words), o)
            for b, o in zip(found.tolist(), scores, strict=True)
        ), side=512)  # fmt: skip
        described.append(dataclasses.replace(seen, height=520))
    expected = port(photos, described, said)
    assert 0.05 < expected[0] < expected[1] < 0.95
    report = evaluate(photos, described, said, protocol="reference")
    assert figures(report)[:2] == pytest.approx(expected)
    assert figures(evaluate(photos, described, said))[:2] != pytest.approx(expected)


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((0.0, 0.0, 730.0, 50.0), id="over the right edge"),
        pytest.param((-9.0, 0.0, 50.0, 50.0), id="over the left edge"),
        pytest.param((50.0, 0.0, 50.0, 50.0), id="empty"),
        pytest.param((0.0, 0.0, float("nan"), 50.0), id="no number"),
    ],
)
def test_boxes_outside_the_photo_are_refused(box: Box) -> None:
    truth, seen = photo((A, "a cat")), description(Seen(A, "a cat"), Seen(box, "a dog"))
    with pytest.raises(DataError) as refused:
        evaluate([truth], [seen])
    assert str(refused.value) == (
        "photo.jpg: 1 of its 2 found boxes are empty or outside its frame of 720 x 720 pixels, "
        f"{list(box)} for one; bring them to that frame"
    )
    with pytest.raises(DataError, match="1 of its 1 annotated boxes"):
        evaluate([photo((box, "a dog"))], [description()])


def test_a_box_may_count_the_last_pixel_too() -> None:
    whole = (0.0, 0.0, 721.0, 720.0)
    assert (
        evaluate([photo((whole, "a sky"))], [description(Seen(whole, "a sky"))]).value("mAP") == 1
    )


def test_regions_of_another_frame_are_refused() -> None:
    with pytest.raises(DataError) as refused:
        evaluate([photo((A, "a cat"))], [description(Seen(A, "a cat"), side=1024)])
    assert str(refused.value) == (
        "photo.jpg: its regions are in a frame of 1024 x 1024 pixels, its annotation in one of "
        "720 x 720; bring them to the frame of the annotation"
    )


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(UsageError, match="no protocol 'paper'; choose fixed or reference"):
        evaluate([ONE], [ONE_SEEN], protocol="paper")


def test_as_many_descriptions_as_photos() -> None:
    with pytest.raises(ValueError, match="zip"):
        evaluate([ONE], [])


def test_the_paper_stands_beside_and_runtime_only_where_it_was_measured() -> None:
    report = evaluate([ONE], [ONE_SEEN], source="truth")
    table, by_overlap = report.tables
    assert table.columns == ("mAP", "detection mAP", "language METEOR")
    ours, *paper = table.rows
    assert (ours.name, ours.published) == ("tiny", False)
    assert all(row.published for row in paper)
    assert report.value("mAP", row="FCLN, RPN") == 0.0539
    assert [row.name for row in by_overlap.rows] == ["captions", "boxes alone"]
    assert report.value("AP@0.7", row="captions") == pytest.approx(34 / 101)
    assert (report.protocol, report.settings) == (
        "captions",
        {
            "photos": 1,
            "regions": 3,
            "regions from": "truth",
            "protocol": "fixed",
            "ranked by": "objectness",
            "long phrases": False,
        },
    )
    timed = evaluate([ONE], [ONE_SEEN], seconds={"proposals": 0.2, "RNN": 0.05, "opening": 0.25})
    assert timed.tables[0].columns[3:] == (
        *("proposals ms", "CNN ms", "RNN ms"),
        *("opening ms", "total ms"),
    )
    assert timed.value("total ms") == pytest.approx(500)
    assert "Opening a photo is reading and resizing it" in timed.notes[2]
    whole = evaluate([ONE], [ONE_SEEN], seconds={"total": 0.3})
    assert whole.tables[0].columns[3:] == ("proposals ms", "CNN ms", "RNN ms", "total ms")
    assert whole.value("total ms") == pytest.approx(300)


def test_examples_are_the_photos_described_best_and_worst() -> None:
    photos = [photo((A, "a cat"), (B, "a dog"), name=f"{number}.jpg") for number in range(10)]
    seen = [
        description(Seen(C, "a cup", 0.9), Seen(A, "a cat", 0.8), Seen(B, f"dog {number}", 0.7))
        for number in range(10)
    ]
    said = Told({(f"dog {number}", "a dog"): number / 10 for number in range(10)})
    report = evaluate(photos, seen, said)
    assert [str(example.path) for example in report.best] == [f"{n}.jpg" for n in range(9, 1, -1)]
    assert [str(example.path) for example in report.worst] == ["0.jpg", "1.jpg"]
    best = report.best[0]
    assert (best.title, best.width, best.height) == ("mean METEOR 0.95", SIDE, SIDE)
    assert [(marked.box, marked.text, marked.truth) for marked in best.boxes] == [
        (A, "a cat", True),
        (B, "a dog", True),
        (A, "a cat", False),
        (B, "dog 9", False),
        (C, "a cup", False),
    ]


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    evaluate([ONE, ONE], [ONE_SEEN] * 2, on_progress=lambda *step: told.append(step))
    assert told == [("captions", 1, 2), ("captions", 2, 2)]


# ranked by caption


def test_a_captions_score_is_the_mean_probability_of_its_words_and_end(
    tiny_checkpoint: Checkpoint,
) -> None:
    captions = ("a red dog", "cat", "a red dog", "the cat on the blue square", "")
    chance = np.random.default_rng(0)
    seen = dataclasses.replace(
        description(*(Seen(A, text, 0.1 * place) for place, text in enumerate(captions, start=1))),
        codes=np.abs(chance.normal(size=(5, 16))).astype(np.float16),
    )
    found = joint_scores(seen, tiny_checkpoint)
    assert found.shape == (5,)
    scorer = TorchEngine(tiny_checkpoint, device="cpu")
    for place, text in enumerate(captions[:4]):
        phrase = read_phrase(text, tiny_checkpoint.vocabulary)
        likelihood = float(scorer.log_likelihood(seen.codes[place : place + 1], phrase)[0])
        mean = np.exp(likelihood / (len(text.split()) + 1))
        assert found[place] == pytest.approx(np.sqrt(0.1 * (place + 1) * mean), rel=1e-4)
    assert 0 < found[4] < np.sqrt(0.5)  # the end alone is likely or not, too
    nothing = dataclasses.replace(description(), codes=seen.codes[:0])
    assert joint_scores(nothing, tiny_checkpoint).shape == (0,)


def test_a_region_that_is_hard_to_say_goes_back_when_ranked_by_caption(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = photo((A, "a red dog"), (B, "a man"))
    seen = description(Seen(FAR, "a cup", 0.9), Seen(B, "a man", 0.3), Seen(A, "a red dog", 0.6))
    monkeypatch.setattr(
        "dcsearch.evaluation.captions.joint_scores", lambda *given: np.array([0.2, 0.5, 0.4])
    )
    usual, by_caption = (evaluate([one], [seen], rank=rank) for rank in RANKS)
    # Wrong, right, right: the highest precision at any recall is 2/3.
    assert figures(usual)[:2] == pytest.approx((2 / 3, 2 / 3))
    assert figures(by_caption)[:2] == pytest.approx((1, 1))
    assert figures(by_caption)[2] == figures(usual)[2]
    assert by_caption.settings["ranked by"] == "caption"
    (example,) = by_caption.best
    told = {marked.text: marked.box for marked in example.boxes if not marked.truth}
    assert told == {"a man": B, "a red dog": A, "a cup": FAR}


def test_the_surer_caption_takes_the_box_when_ranked_by_caption(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = photo((A, "a red dog"))
    seen = description(Seen(A, "a cup", 0.9), Seen(A, "a red dog", 0.8))
    monkeypatch.setattr(
        "dcsearch.evaluation.captions.joint_scores", lambda *given: np.array([0.1, 0.2])
    )
    assert figures(evaluate([one], [seen]))[0] == 0
    assert figures(evaluate([one], [seen], rank="caption"))[0] == 1


def test_an_unknown_rank_is_refused() -> None:
    with pytest.raises(UsageError, match="no rank 'size'; choose objectness or caption"):
        evaluate([ONE], [ONE_SEEN], rank="size")
