"""Open-world detection: average precision by hand, and against pycocotools."""

import json
import math
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from cli import cures
from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.describe import Description
from dcsearch.errors import MissingExtra, UsageError
from dcsearch.evaluation.detection import category_names, evaluate_detection
from dcsearch.evaluation.report import Report
from dcsearch.scoring.detection import detect
from dcsearch.scoring.formula import OBJECTNESS_WEIGHT, SCORES, Term
from dcsearch.scoring.numpy_engine import NumpyEngine
from dcsearch.scoring.phrase import Phrase, read_phrase
from dcsearch.scoring.scorer import RegionScorer
from dcsearch.scoring.torch_engine import torch_scorer
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS
from tests.program import draw_photos, run

pytest.importorskip("pycocotools")

Box = tuple[float, float, float, float]
A, B, C = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 60.0, 40.0), (0.0, 50.0, 98.0, 150.0)
NAMES = ("dog", "cat")
NOWHERE = -1000.0  # a log-likelihood that no mean of probabilities notices
HALF = (51 + 50 * 2 / 3) / 101  # hit, miss, hit of two: precision 1 up to recall .5, then 2/3


class Told(NumpyEngine):
    """An engine that reads the log-likelihood of every word from its own place in the code."""

    def __init__(self) -> None:
        self.name, self.sha256, self.embeds = "hand", "00ff", False
        self.batches: list[int] = []

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(WORDS)

    def terms(
        self, codes: np.ndarray, phrases: Sequence[Phrase], names: Sequence[Term]
    ) -> dict[Term, np.ndarray]:
        self.batches.append(len(codes))
        columns = [WORDS.index(phrase.text) for phrase in phrases]
        return {name: codes[:, columns].astype(np.float32) for name in names}


def scorer_of(told: Told) -> RegionScorer[Told]:
    return RegionScorer(told, SCORES["likelihood"])


def seen(*regions: tuple[Box, dict[str, float]], objectness: Sequence[float] = ()) -> Description:
    """A photo with these regions, each with the log-likelihood of some words."""
    codes = np.full((len(regions), len(WORDS)), NOWHERE, dtype=np.float16)
    for row, (_, says) in zip(codes, regions, strict=True):
        for word, value in says.items():
            row[WORDS.index(word)] = value
    return Description(
        width=200,
        height=200,
        boxes=np.array([box for box, _ in regions], dtype=np.float32).reshape(-1, 4),
        objectness=np.array(objectness or [1.0] * len(regions), dtype=np.float32),
        captions=("",) * len(regions),
        codes=codes,
    )


def photo(*regions: AnnotatedRegion) -> AnnotatedPhoto:
    return AnnotatedPhoto(path=Path("x.png"), width=200, height=200, regions=regions, captions=())


def called(
    *phrases: str, at: Box, kind: str = "object", parts: tuple[Box, ...] = ()
) -> AnnotatedRegion:
    return AnnotatedRegion(box=at, phrases=phrases, long_phrases=(), kind=kind, parts=parts)


def report_of(
    photos: Sequence[AnnotatedPhoto],
    described: Sequence[Description],
    categories: Sequence[str] = NAMES,
    *,
    told: Told | None = None,
    overlap: float = 0.5,
    per_photo: int = 100,
    batch: int = 40,
) -> Report:
    return evaluate_detection(
        photos, described, scorer_of(told or Told()), categories=categories,
        overlap=overlap, per_photo=per_photo, batch=batch,
    )  # fmt: skip


# by hand


def test_precision_by_hand_over_two_photos() -> None:
    photos = [photo(called("dog", at=A)), photo(called("dog", at=A))]
    described = [
        seen((A, {"dog": -1}), (B, {"dog": -2})),  # hit, miss
        seen((A, {"dog": -3})),  # hit
    ]
    report = report_of(photos, described)
    assert [report.value(c) for c in ("AP", "AP50", "AP75")] == pytest.approx([HALF] * 3)
    assert report.value("AP small") == pytest.approx(1)  # COCO: B, as a miss, is of another size
    assert {"AP medium", "AP large"}.isdisjoint(report.tables[0].rows[0].values)
    (row,) = report.tables[2].rows
    values = {name: measure.value for name, measure in row.values.items()}
    prior = math.log((math.exp(-1) + math.exp(-2) + math.exp(-3)) / 3)
    assert (row.name, values) == (
        "dog",
        pytest.approx(
            {"photos": 2, "boxes": 2, "AP": HALF, "AP50": HALF, "AP75": HALF, "log prior": prior}
        ),
    )
    assert (report.protocol, report.model_name, report.model_sha256) == (
        "detection",
        "hand",
        "00ff",
    )


def test_overlap_decides_at_which_thresholds_a_box_is_right() -> None:
    described = [seen(((0.0, 0.0, 10.0, 7.2), {"dog": -1}))]  # IoU .72
    report = report_of([photo(called("dog", at=A))], described)
    figures = [report.value(column) for column in ("AP", "AP50", "AP75")]
    assert figures == pytest.approx([0.5, 1, 0])  # at .5, .55, .6, .65 and .7 of ten


def test_sizes_are_those_of_the_boxes_in_the_frame_of_the_annotation() -> None:
    photos = [photo(called("dog", at=A), called("dog", at=B), called("dog", at=C))]
    described = [seen((A, {"dog": -2}), (C, {"dog": -1}))]  # 100, 1600 and 9800 pixels
    report = report_of(photos, described)
    sizes = [report.value(column) for column in ("AP small", "AP medium", "AP large")]
    assert sizes == pytest.approx([1, 0, 1])
    assert report.value("AP") == pytest.approx(67 / 101)  # recall 2/3


def test_an_answer_of_ten_photos_by_hand() -> None:
    """Ten of twelve photos show a dog; two a cat, which are too few to fill an answer."""
    photos = [photo(called("dog", at=A)) for _ in range(10)]
    photos += [photo(called("cat", at=A)) for _ in range(2)]
    described = [seen((A, {"dog": -1 - number})) for number in range(12)]
    described[3] = seen((B, {"dog": -3}), (A, {"dog": -4}))  # the best region is elsewhere
    described[8] = seen()
    described[11] = seen((A, {"dog": -0.5}))  # no dog
    report = report_of(photos, described)  # 11, then 0 to 7 and 9; 10 is eleventh
    (table,) = (table for table in report.tables if table.name == "Search")
    (row,) = table.rows
    assert {column: measure.value for column, measure in row.values.items()} == pytest.approx(
        {"categories": 1, "precision@10": 0.9, "placed@10": 0.8, "chance": 10 / 12}
    )


def test_without_a_category_in_ten_photos_there_is_no_answer_to_measure() -> None:
    report = report_of([photo(called("dog", at=A))] * 9, [seen((A, {"dog": -1}))] * 9)
    assert [table.name for table in report.tables] == ["Detection", "Calibration", "By category"]


def test_pooling_sorts_all_records_as_if_of_one_class() -> None:
    photos = [photo(called("dog", at=A), called("cat", at=B))]
    described = [seen((A, {"dog": -3, "cat": -1}), (B, {"cat": -2}))]
    # The cat's miss, the cat's hit, the dog's hit; the dog's log-likelihood at B is too low.
    report = report_of(photos, described)
    # By phrase 1 and 1/2. Pooled: precision 0, 1/2, 2/3, and what counts is the best from there on.
    row = {
        c: report.value(c, row="without prior") for c in ("AP50 by phrase", "AP50 pooled", "gap")
    }
    assert row == pytest.approx({"AP50 by phrase": 0.75, "AP50 pooled": 2 / 3, "gap": 0.75 - 2 / 3})
    assert report.value("AP50") == pytest.approx(0.75)


def test_the_evidence_takes_the_prior_of_each_phrase_away() -> None:
    photos = [photo(called("dog", at=A), called("cat", at=B)), photo()]
    described = [
        seen((A, {"dog": -1, "cat": -9}), (B, {"dog": -2, "cat": -8})),
        seen((C, {"dog": -3, "cat": -16})),
    ]
    # Likelihood: dog hit, miss, miss, then cat hit: 1 up to recall .5, then 1/2.
    # Evidence, log p - log mean p, hits: dog -1 + 1.69 = .69, cat -8 + 8.79 = .79; misses below.
    report = report_of(photos, described)
    rows = {
        score: report.value("AP50 pooled", row=score) for score in ("without prior", "evidence")
    }
    assert rows == pytest.approx({"without prior": (51 + 50 / 2) / 101, "evidence": 1})
    assert report.value("gap", row="evidence") == pytest.approx(0)
    dog = math.log((math.exp(-1) + math.exp(-2) + math.exp(-3)) / 3)
    cat = math.log((math.exp(-9) + math.exp(-8) + math.exp(-16)) / 3)
    assert report.value("log prior", row="dog") == pytest.approx(dog)
    assert report.value("log prior", row="cat") == pytest.approx(cat)


def test_the_curve_is_the_average_precision_over_the_overlap_asked_for() -> None:
    described = [seen(((0.0, 0.0, 10.0, 7.2), {"dog": -1}))]  # IoU .72
    (curve,) = report_of([photo(called("dog", at=A), called("cat", at=B))], described).curves
    assert list(curve.lines) == ["all boxes", "small", "medium"]
    asked = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    for size, found in {"all boxes": 0.5, "small": 1, "medium": 0}.items():
        assert curve.lines[size] == (asked, pytest.approx([found] * 5 + [0] * 5))


# detections


def test_detections_are_those_of_the_product_for_each_phrase() -> None:
    chance = np.random.default_rng(0)
    low = chance.uniform(0, 60, size=(40, 2))
    boxes = np.hstack([low, low + chance.uniform(20, 60, size=(40, 2))]).astype(np.float32)
    regions = [
        (cast(Box, tuple(box)), {"dog": chance.uniform(-9, 0), "cat": chance.uniform(-9, 0)})
        for box in boxes.tolist()
    ]
    description = seen(*regions, objectness=chance.uniform(0.1, 1, size=40).tolist())
    told = Told()
    for name in NAMES:
        kept = detect(
            description, read_phrase(name, Vocabulary(WORDS)), scorer_of(Told()),
            top=7, overlap=0.3,
        )  # fmt: skip
        truth = photo(*(called(name, at=detection.box) for detection in kept))
        report = report_of([truth], [description], [name], told=told, overlap=0.3, per_photo=7)
        assert report.value("AP") == pytest.approx(1)
        fewer = report_of([truth], [description], [name], overlap=0.3, per_photo=3)
        assert fewer.value("AP") == pytest.approx(43 / 101)  # recall 3/7


def test_objectness_has_its_say() -> None:
    faint, clear = (math.exp(score / OBJECTNESS_WEIGHT) for score in (-3, -1))
    described = [seen((B, {"dog": -1}), (A, {"dog": -2}), objectness=(faint, clear))]
    report = report_of([photo(called("dog", at=A))], described)
    assert report.value("AP50") == pytest.approx(1)  # -3 against -4


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_batches_do_not_change_the_figures(batch: int) -> None:
    photos, described = random_case(seed=1)
    told = Told()
    report = report_of(photos, described, told=told, batch=batch)
    assert report.to_json() == report_of(photos, described).to_json()
    assert len(told.batches) == math.ceil(len(photos) / batch)


# against pycocotools


def random_case(seed: int, *, photos: int = 8) -> tuple[list[AnnotatedPhoto], list[Description]]:
    """Photos of 0 to 5 annotated boxes of three sizes, and regions near and far from them."""
    chance = np.random.default_rng(seed)
    annotated, described = [], []
    for _ in range(photos):
        regions, found = [], []
        for _ in range(int(chance.integers(0, 6))):
            x, y = chance.uniform(0, 60, size=2).tolist()
            side = float(chance.choice([20, 60, 120]))
            name = str(chance.choice(NAMES))
            regions.append(called(name, at=(x, y, x + side, y + side)))
            for _ in range(3):
                shift = chance.uniform(-0.2, 0.2, size=4) * side
                box = np.clip(np.array([x, y, x + side, y + side]) + shift, 0, 200)
                says = {word: float(chance.uniform(-9, 0)) for word in NAMES}
                says[name] += 2
                found.append((cast(Box, tuple(box.tolist())), says))
        annotated.append(photo(*regions))
        described.append(seen(*found))
        described[-1].boxes.flags.writeable = False  # as they are when read back from a file
    return annotated, described


def by_hand(
    folder: Path, photos: Sequence[AnnotatedPhoto], described: Sequence[Description]
) -> list[float]:
    """AP, AP50, AP75, small, medium and large of files in COCO's form, without suppression."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def row(image: int, category: int, box: Sequence[float]) -> dict[str, object]:
        x0, y0, x1, y1 = box
        return {"image_id": image, "category_id": category, "bbox": [x0, y0, x1 - x0, y1 - y0]}

    truths = [
        {**row(image, NAMES.index(region.phrases[0]), region.box), "iscrowd": 0}
        for image, own in enumerate(photos)
        for region in own.regions
    ]
    for number, truth in enumerate(truths, start=1):
        width, height = cast(list[float], truth["bbox"])[2:]
        truth |= {"id": number, "area": width * height}
    results = [
        {**row(image, NAMES.index(name), box), "score": float(code[WORDS.index(name)])}
        for image, own in enumerate(described)
        for box, code in zip(own.boxes.tolist(), own.codes, strict=True)
        for name in NAMES
    ]
    (folder / "truths.json").write_text(
        json.dumps(
            {
                "images": [{"id": image} for image in range(len(photos))],
                "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES)],
                "annotations": truths,
            }
        )
    )
    (folder / "results.json").write_text(json.dumps(results))
    coco = COCO(str(folder / "truths.json"))
    evaluation = COCOeval(coco, coco.loadRes(str(folder / "results.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return cast(list[float], evaluation.stats[:6].tolist())


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_pycocotools(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, described = random_case(seed, photos=12)
    wanted = by_hand(tmp_path, photos, described)
    capsys.readouterr()
    report = report_of(photos, described, overlap=1.0)
    columns = ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large")
    assert [report.value(column) for column in columns] == pytest.approx(wanted, abs=1e-9)
    assert 0.05 < wanted[0] < wanted[1] < 0.95
    assert capsys.readouterr().out == ""


def test_pooled_precision_is_that_of_pycocotools_for_one_class(tmp_path: Path) -> None:
    """Every (phrase, photo) made a photo of its own, and all phrases one class."""
    photos, described = random_case(5, photos=12)
    apart_photos, apart = [], []
    for own, description in zip(photos, described, strict=True):
        for name in NAMES:
            boxes = [region.box for region in own.regions if region.phrases[0] == name]
            column = description.codes[:, WORDS.index(name)].tolist()
            apart_photos.append(photo(*(called("dog", at=box) for box in boxes)))
            apart.append(
                seen(
                    *(
                        (cast(Box, tuple(box)), {"dog": value})
                        for box, value in zip(description.boxes.tolist(), column, strict=True)
                    )
                )
            )
    pooled = report_of(photos, described, overlap=1.0).value("AP50 pooled", row="without prior")
    wanted = report_of(apart_photos, apart, ["dog"], overlap=1.0).value("AP50")
    assert pooled == pytest.approx(wanted, abs=1e-9)
    assert 0.1 < pooled < 0.9


def test_an_oracle_reaches_one_and_a_random_scorer_chance() -> None:
    chance = np.random.default_rng(0)
    corners = [(20.0 * x, 20.0 * y) for x in range(5) for y in range(4)]
    boxes = [(x, y, x + 18, y + 18) for x, y in corners]
    photos, known, blind = [], [], []
    for _ in range(60):
        dog, cat = (boxes[k] for k in chance.choice(20, size=2, replace=False))
        photos.append(photo(called("dog", at=dog), called("cat", at=cat)))
        known.append(
            seen(*((b, {"dog": -1.0 - (b != dog), "cat": -5.0 - (b != cat)}) for b in boxes))
        )
        blind.append(
            seen(*((b, dict(zip(NAMES, chance.uniform(-9, 0, 2), strict=True))) for b in boxes))
        )
    oracle = report_of(photos, known)
    assert [oracle.value(c) for c in ("AP", "AP50", "AP75")] == pytest.approx([1, 1, 1])
    assert oracle.value("AP50 pooled", row="without prior") < 0.6  # all dogs, right or not, first
    assert oracle.value("AP50 pooled", row="evidence") == pytest.approx(1)
    random = report_of(photos, blind)
    assert random.value("AP50") == pytest.approx(1 / 20, abs=0.03)
    assert random.value("AP50 pooled", row="evidence") == pytest.approx(1 / 20, abs=0.03)


# what cannot be found


def test_photos_without_regions_are_missed() -> None:
    truth = photo(called("dog", at=A))
    report = report_of([truth, truth], [seen(), seen((A, {"dog": -1}))])
    assert report.value("AP50") == pytest.approx(51 / 101)
    nothing = report_of([truth], [seen()])
    assert [nothing.value(c) for c in ("AP", "AP50", "AP75")] == [0, 0, 0]
    assert nothing.value("AP50 pooled", row="evidence") == 0


def test_a_category_without_a_known_word_counts_as_nothing_found() -> None:
    photos = [photo(called("dog", at=A), called("xyzzy", at=B))]
    report = report_of(photos, [seen((A, {"dog": -1}))], ["dog", "xyzzy"])
    assert report.value("AP") == pytest.approx(0.5)
    assert report.value("AP50 pooled", row="without prior") == pytest.approx(51 / 101)
    assert report.settings["unknown categories"] == 1
    assert "The model knows no word of these, which count as 0: xyzzy." in report.notes
    assert "log prior" not in report.tables[2].rows[1].values
    told = Told()
    assert report_of(photos, [seen()], ["xyzzy"], told=told).value("AP") == 0
    assert told.batches == []


def test_categories_that_no_photo_shows_are_left_out_and_named() -> None:
    photos, described = [photo(called("dog", at=A))], [seen((A, {"dog": -1, "cat": 0}))]
    report = report_of(photos, described, ["cat", "dog", "dog"])
    assert report.value("AP") == pytest.approx(1)
    assert report.value("AP50 pooled", row="without prior") == pytest.approx(1)
    assert report.settings["categories"] == 1
    assert "No photo used shows these, which are left out: cat." in report.notes
    for categories in (["cat"], []):
        with pytest.raises(UsageError) as caught:
            report_of(photos, described, categories)
        assert cures.sentence(caught.value) == (
            f"no region is called by any of the {len(categories)} categories; "
            "name some phrases of the data with --categories"
        )


def test_without_pycocotools_a_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(MissingExtra) as caught:
        report_of([photo(called("dog", at=A))], [seen()])
    assert str(caught.value) == (
        "COCO's average precision needs an extra; install it with: pip install 'dcsearch[eval]'"
    )


def test_another_number_of_descriptions_is_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        report_of([photo(called("dog", at=A))] * 2, [seen()])


# which photos and boxes count


def test_objects_count_where_there_are_any_and_only_photos_that_have_some() -> None:
    photos = [
        photo(called("dog", "cat", at=A), called("cat", at=B, kind="animals")),
        photo(called("dog", at=C, kind="animals")),
        photo(),
    ]
    described = [seen((A, {"dog": -2, "cat": -1}))] + [seen((C, {"dog": -1}))] * 2
    report = report_of(photos, described, NAMES)
    assert report.value("AP") == pytest.approx(1)
    assert (report.settings["photos"], report.settings["boxes"]) == (1, 1)
    assert report.settings["only objects"] is True
    assert report.notes[0].startswith("1 of 3 photos are used, those annotated with objects")
    assert "No photo used shows these, which are left out: cat." in report.notes


def test_where_all_regions_are_objects_a_photo_without_any_shows_none() -> None:
    photos = [photo(called("dog", at=A)), photo()]
    report = report_of(photos, [seen((A, {"dog": -2})), seen((A, {"dog": -1}))])
    assert report.settings["photos"] == 2
    assert report.value("AP50") == pytest.approx(0.5)


def test_phrases_that_are_no_objects_are_looked_for_in_all_photos() -> None:
    photos = [
        photo(called("dog", "cat", at=A)),
        photo(called("cat", at=B, kind="animals"), called("cat", at=B, kind="other")),
        photo(called("cat", at=C, kind="animals", parts=(A, B))),
        photo(),
    ]
    cats = [[A], [B], [A, B], []]
    described = [seen(*((box, {"cat": -1}) for box in boxes)) for boxes in cats]
    report = report_of(photos, described, ["cat"])
    assert (report.settings["photos"], report.settings["boxes"]) == (4, 4)
    assert report.value("AP") == pytest.approx(1)
    assert report.settings["only objects"] is False
    assert report.notes[0].startswith("Nothing says that the categories are annotated wherever")


def test_the_names_of_objects_are_the_categories_by_default() -> None:
    photos = [
        photo(called("dog", "a dog", at=A), called("dog", at=B), called("a man", at=A, kind="x")),
        photo(called("cup", at=A), called("cat", at=A), called(at=B)),
        photo(called("cat", at=A)),
    ]
    assert category_names(photos) == ("cat", "cup", "dog")


def test_without_objects_the_frequent_phrases_are_the_categories_by_default() -> None:
    photos = [photo(called("dog", "a dog", at=A, kind=""), called("dog", at=B, kind=""))]
    photos = photos * 9 + [photo(called("cat", "dog", at=A, kind=""))] * 10
    assert category_names(photos) == ("dog", "cat")
    assert category_names(photos, least_photos=9) == ("dog", "cat", "a dog")
    assert category_names([]) == ()


# the whole with a real network


def test_a_real_network_is_measured_alike_each_time(tiny_checkpoint: Checkpoint) -> None:
    chance = np.random.default_rng(0)
    scorer = torch_scorer(tiny_checkpoint, device="cpu")
    photos, described = random_case(3)
    described = [
        Description(
            width=200, height=200, boxes=own.boxes, captions=own.captions,
            objectness=chance.uniform(0.1, 0.9, size=len(own.boxes)).astype(np.float32),
            codes=np.abs(chance.normal(size=(len(own.boxes), 16))).astype(np.float16),
        )
        for own in described
    ]  # fmt: skip
    told: list[tuple[str, int, int]] = []
    first, second = (
        evaluate_detection(
            photos, described, scorer, categories=NAMES, batch=batch,
            on_progress=lambda what, done, of: told.append((what, done, of)),
        )
        for batch in (3, 5)
    )  # fmt: skip
    for one, other in zip(first.tables, second.tables, strict=True):
        for row, same in zip(one.rows, other.rows, strict=True):
            assert {c: m.value for c, m in row.values.items()} == pytest.approx(
                {c: m.value for c, m in same.values.items()}, abs=1e-5
            )
    assert told[:5] == [
        *(("photos", 3, 8), ("photos", 6, 8), ("photos", 8, 8)),
        *(("categories", 1, 2), ("categories", 2, 2)),
    ]


# the command


@pytest.mark.parametrize("in_a_file", [True, False])
def test_the_command_looks_for_the_categories_it_is_given(
    in_a_file: bool, tmp_path: Path, tiny_checkpoint_path: Path
) -> None:
    regions = [{"box": [10, 10, 80, 90], "phrases": [name], "kind": "object"} for name in NAMES]
    rows = [
        {"image": f"{number}.jpg", "width": 160, "height": 120, "regions": regions}
        for number in range(3)
    ]
    data = draw_photos(tmp_path, 3) / "val.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "names.txt").write_text("dog\n\n a cup\n")
    names = tmp_path / "names.txt" if in_a_file else "dog, a cup"
    shared = ("--model", tiny_checkpoint_path, "--cache", tmp_path / "cache", "--regions", 10)
    outcome = run(
        "evaluate", "detection", data, *shared, "--categories", names, "--limit", 2, "--json"
    )
    found = json.loads(outcome.stdout)
    assert (outcome.code, found["protocol"], found["model"]["name"]) == (0, "detection", "tiny")
    assert [row["name"] for row in found["tables"][2]["rows"]] == ["dog"]
    assert (found["settings"]["photos"], found["settings"]["categories"]) == (2, 1)
    assert any("left out: a cup." in note for note in found["notes"])
    outcome = run("evaluate", "detection", data, *shared)
    assert outcome.code == 0
    assert [line.split()[0] for line in outcome.lines[-2:]] == ["cat", "dog"]
    (tmp_path / "names.txt").write_text("")
    outcome = run("evaluate", "detection", data, "--categories", tmp_path / "names.txt")
    assert (outcome.code, outcome.stdout) == (2, b"")
    assert outcome.stderr == (
        "dcsearch: --categories names nothing; give a name a line, or names with commas between\n"
    )
