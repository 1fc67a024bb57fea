"""Grounding: phrases in their own photos, with regions whose scores and overlaps are known."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.describe import Description
from dcsearch.errors import DataError
from dcsearch.evaluation.grounding import evaluate_grounding
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

Box = tuple[float, float, float, float]
LEFT, RIGHT, FAR = (0.0, 0.0, 20.0, 20.0), (60.0, 0.0, 100.0, 20.0), (0.0, 80.0, 10.0, 90.0)
ACROSS = (0.0, 0.0, 100.0, 20.0)  # around LEFT and RIGHT


class Seen(NamedTuple):
    """A region that the network is said to find, with the log-likelihood of each phrase."""

    box: Box
    says: Mapping[str, float]
    objectness: float = 1.0


class World:
    """Photos with what is found in them and what is annotated, and a scorer of that."""

    def __init__(self) -> None:
        self.photos: list[AnnotatedPhoto] = []
        self.described: list[Description] = []
        self.seen: list[Seen] = []
        self.asked: list[list[str]] = []

    def add(self, seen: Sequence[Seen], regions: Sequence[AnnotatedRegion]) -> None:
        """One more photo."""
        path = Path(f"{len(self.photos)}.png")
        self.photos.append(
            AnnotatedPhoto(path=path, width=100, height=100, regions=tuple(regions), captions=())
        )
        numbers = range(len(self.seen), len(self.seen) + len(seen))
        boxes = np.array([s.box for s in seen], dtype=np.float32).reshape(-1, 4)
        boxes.flags.writeable = False  # as they are when read back from a file
        self.described.append(
            Description(
                width=100,
                height=100,
                boxes=boxes,
                objectness=np.array([s.objectness for s in seen], dtype=np.float32),
                captions=("",) * len(seen),
                codes=np.array(numbers, dtype=np.float16).reshape(-1, 1),
            )
        )
        self.seen.extend(seen)

    @property
    def scorer(self) -> RegionScorer[NumpyEngine]:
        world = self

        class Stub(NumpyEngine):
            def __init__(self) -> None:
                self.name, self.sha256, self.embeds = "hand", "00ff", False

            @cached_property
            def vocabulary(self) -> Vocabulary:
                return Vocabulary(WORDS)

            def terms(
                self, codes: np.ndarray, phrases: Sequence[Phrase], names: Sequence[Term]
            ) -> dict[Term, np.ndarray]:
                world.asked.append([phrase.text for phrase in phrases])
                rows = [world.seen[int(code)].says for code in codes[:, 0]]
                values = [[row.get(phrase.text, -50.0) for phrase in phrases] for row in rows]
                told = np.array(values, dtype=np.float32).reshape(len(rows), len(phrases))
                return dict.fromkeys(names, told)

        return RegionScorer(Stub(), SCORES["likelihood"])

    def report(self, *, long_phrases: bool = False) -> Report:
        return evaluate_grounding(
            self.photos, self.described, self.scorer, long_phrases=long_phrases
        )


@pytest.fixture
def world() -> World:
    return World()


def said(
    *phrases: str, of: Box = LEFT, parts: Sequence[Box] = (), kind: str = "animals",
    long_phrases: tuple[str, ...] = (),
) -> AnnotatedRegion:  # fmt: skip
    """An annotated region."""
    return AnnotatedRegion(
        box=of, phrases=phrases, long_phrases=long_phrases, kind=kind, parts=tuple(parts)
    )


def found(box: Box, dog: float = -9, cat: float = -9, *, objectness: float = 1.0) -> Seen:
    """A region that "a dog" and "a cat" describe so well."""
    return Seen(box, {"a dog": dog, "a cat": cat}, objectness)


def figures(report: Report, *, table: str = "Grounding", row: str | None = None) -> list[float]:
    """R@1, R@5, R@10 and bound, any-box."""
    names = ("R@1 any-box", "R@5 any-box", "R@10 any-box", "bound any-box")
    return [report.value(name, table=table, row=row) for name in names]


# recall


def test_each_phrase_is_looked_for_in_its_own_photo(world: World) -> None:
    world.add([found(LEFT, dog=-5), found(RIGHT, dog=-4)], [said("a dog", of=RIGHT)])
    world.add([found(LEFT, dog=-1), found(RIGHT, dog=-2)], [said("a dog", of=RIGHT)])
    report = world.report()
    assert figures(report) == [0.5, 1, 1, 1]
    assert report.value("phrases") == 2
    assert (report.protocol, report.model_name, report.model_sha256) == (
        "grounding",
        "hand",
        "00ff",
    )


def test_a_recall_looks_at_so_many_of_the_best_regions_and_the_bound_at_all(world: World) -> None:
    wrong = [found(FAR, dog=-1 - k) for k in range(20)]
    for before in (0, 1, 4, 5, 9, 10):
        right = found(LEFT, dog=-0.5 - before)
        world.add([*wrong, right], [said("a dog")])
    assert figures(world.report()) == pytest.approx([1 / 6, 3 / 6, 5 / 6, 1])


def test_half_of_a_box_is_enough_and_less_is_not(world: World) -> None:
    world.add([found((0, 0, 20, 10), dog=-1)], [said("a dog")])  # IoU 200 / 400
    world.add([found((0, 0, 20, 9), dog=-1)], [said("a dog")])  # 180 / 400
    report = world.report()
    assert figures(report) == [0.5, 0.5, 0.5, 0.5]
    (curve,) = report.curves
    x, y = curve.lines["R@1 any-box"]
    assert len(x) == 21
    recall = dict(zip(x, y, strict=True))
    assert [recall[t] for t in (0, 0.45, 0.5, 0.55, 1)] == [1, 1, 0.5, 0, 0]


def test_objectness_has_its_say_as_in_retrieval(world: World) -> None:
    faint = found(RIGHT, dog=-1, objectness=math.exp(-3 / OBJECTNESS_WEIGHT))
    clear = found(LEFT, dog=-2, objectness=math.exp(-1 / OBJECTNESS_WEIGHT))
    world.add([faint, clear], [said("a dog", of=LEFT)])
    assert figures(world.report())[0] == 1  # -3 against -4


def test_regions_that_tie_keep_their_order(world: World) -> None:
    world.add([found(LEFT, dog=-1), found(RIGHT, dog=-1)], [said("a dog", of=LEFT)])
    world.add([found(RIGHT, dog=-1), found(LEFT, dog=-1)], [said("a dog", of=LEFT)])
    assert figures(world.report())[0] == 0.5


# several boxes


@pytest.mark.parametrize("as_parts", [True, False])
def test_any_box_takes_one_of_several_and_merged_box_the_box_around_them(
    as_parts: bool, world: World
) -> None:
    regions = [said("a dog", of=LEFT), said("a dog", of=RIGHT)]
    if as_parts:
        regions = [said("a dog", of=ACROSS, parts=[LEFT, RIGHT])]
    world.add([found(RIGHT, dog=-1), found(ACROSS, dog=-2)], regions)
    world.add([found(ACROSS, dog=-1), found(FAR, dog=-2)], regions)  # IoU with RIGHT: 40 / 100
    report = world.report()
    assert report.value("phrases") == 2
    assert figures(report) == [0.5, 0.5, 0.5, 0.5]
    merged = [report.value(f"{what} merged-box") for what in ("R@1", "R@5", "R@10", "bound")]
    assert merged == [0.5, 1, 1, 1]


def test_a_phrase_of_one_box_is_the_same_in_both_readings(world: World) -> None:
    world.add([found(LEFT, dog=-1)], [said("a dog", of=LEFT)])
    report = world.report()
    assert report.value("R@1 any-box") == report.value("R@1 merged-box") == 1


# pointing


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ((0, 0, 100, 20), 0),  # the centre, (50, 10), lies between the two
        ((40, 0, 90, 20), 1),  # (65, 10), and an IoU of only 30 / 60 with RIGHT
        ((70, 10, 100, 30), 1),  # (85, 20), on the edge
        ((70, 12, 100, 30), 0),  # (85, 21)
        ((0, 0, 4, 4), 1),  # a small one points as well as any
    ],
)
def test_pointing_asks_for_the_centre_of_the_aligned_region(
    box: Box, inside: float, world: World
) -> None:
    regions = [said("a dog", of=ACROSS, parts=[LEFT, RIGHT])]
    world.add([found(box, dog=-1), found(LEFT, dog=-2)], regions)
    assert world.report().value("pointing") == inside


# what cannot be found


def test_a_phrase_without_a_known_word_is_missed_and_counted(world: World) -> None:
    world.add([found(LEFT, dog=-1)], [said("a dog", "xyzzy", "foo bar")])
    world.add([found(LEFT)], [said("xyzzy")])
    report = world.report()
    assert figures(report) == [1 / 4, 1 / 4, 1 / 4, 1]  # the proposals would allow it
    assert report.value("pointing") == 1 / 4
    assert report.settings["unknown phrases"] == 3
    assert "3 of 4 phrases have no word that the model knows; they count as missed." in report.notes
    assert world.asked == [["a dog"]]


def test_a_photo_without_regions_misses_its_phrases_at_any_overlap(world: World) -> None:
    world.add([], [said("a dog")])
    world.add([found(FAR, dog=-1)], [said("a dog")])
    world.add([found(LEFT)], [])  # without phrases it does not count
    report = world.report()
    assert figures(report) == [0, 0, 0, 0]
    assert report.value("pointing") == 0
    for x, y in report.curves[0].lines.values():
        assert (x[0], y[0], y[1]) == (0, 0.5, 0)
    assert "1 photos have no region; their phrases count as missed." in report.notes


def test_photos_without_phrases_are_refused(world: World) -> None:
    world.add([found(LEFT)], [])
    with pytest.raises(DataError, match="no phrases to look for"):
        world.report()
    with pytest.raises(DataError, match="no phrases to look for"):
        World().report()


def test_another_number_of_descriptions_is_refused(world: World) -> None:
    world.add([found(LEFT)], [said("a dog")])
    world.described.pop()
    with pytest.raises(ValueError, match="shorter"):
        world.report()


# phrases


def test_a_phrase_counts_once_a_photo_and_all_of_a_photo_are_scored_together(world: World) -> None:
    regions = [said("a dog", "a cat", "a dog"), said("a cat", of=RIGHT)]
    world.add([found(LEFT, dog=-1, cat=-2)], regions)
    world.add([found(LEFT, dog=-1, cat=-2)], regions)
    assert world.report().value("phrases") == 4
    assert world.asked == [["a dog", "a cat"]] * 2


def test_long_phrases_are_asked_on_demand(world: World) -> None:
    world.add([found(LEFT, dog=-1)], [said("a dog", long_phrases=("a red dog", "a dog"))])
    assert world.report().value("phrases") == 1
    report = world.report(long_phrases=True)
    assert report.value("phrases") == 2
    assert report.settings["long phrases"] is True


# tables by kind and by size


def test_recall_by_kind_of_phrase(world: World) -> None:
    regions = [
        said("a dog", of=LEFT, kind="animals"),
        said("a cat", of=RIGHT, kind="animals"),
        said("a man", of=RIGHT, kind="people/scene"),
        said("xyzzy", of=FAR, kind=""),
        said("a dog", of=FAR, kind="animals"),
    ]
    world.add([found(LEFT, dog=-1, cat=-1), Seen(RIGHT, {"a man": -1.0, "a cat": -2.0})], regions)
    report = world.report()
    kinds = {row.name: row.values["phrases"].value for row in report.tables[1].rows}
    assert kinds == {"animals": 2, "people": 1, "scene": 1, "none": 1}
    assert next(iter(kinds)) == "animals"  # most phrases first
    assert figures(report, table="By kind of phrase", row="animals") == [0.5, 1, 1, 1]
    assert figures(report, table="By kind of phrase", row="scene") == [1, 1, 1, 1]
    assert figures(report, table="By kind of phrase", row="none") == [0, 0, 0, 0]


def test_recall_by_size_is_of_the_largest_box_in_the_frame_of_the_annotation(world: World) -> None:
    boxes = {
        "a dog": (0.0, 0.0, 31.0, 33.0),  # 1023
        "a cat": (0.0, 0.0, 32.0, 32.0),
        "a man": (0.0, 0.0, 95.0, 97.0),  # 9215
        "a woman": (0.0, 0.0, 96.0, 96.0),
    }
    parts = [(0.0, 0.0, 10.0, 10.0), (50.0, 0.0, 60.0, 10.0)]
    regions = [said(text, of=box) for text, box in boxes.items()]
    regions.append(said("a cup", of=(0, 0, 60, 10), parts=parts))  # two of 100
    world.add([Seen(boxes["a cat"], {"a cat": -1.0, "a dog": -1.0})], regions)
    report = world.report()
    sizes = {row.name: row.values["phrases"].value for row in report.tables[2].rows}
    assert sizes == {"small": 2, "medium": 2, "large": 1}
    assert figures(report, table="By size of box", row="small")[0] == 0.5  # 1023 of 1056 - 32
    assert figures(report, table="By size of box", row="medium")[0] == 0.5
    assert figures(report, table="By size of box", row="large")[0] == 0


def test_a_size_that_no_phrase_has_has_no_row(world: World) -> None:
    world.add([found(LEFT, dog=-1)], [said("a dog")])
    assert [row.name for row in world.report().tables[2].rows] == ["small"]


# examples


def test_the_best_examples_overlap_most_and_the_worst_lose_most(world: World) -> None:
    for lost in range(1, 12):  # aligned to a box of less and less IoU, with LEFT to be had
        cut = (0.0, 0.0, 20.0, 20.0 - lost)
        world.add([found(cut, dog=-1), found(LEFT, dog=-2)], [said("a dog"), said("a cat")])
    world.add([found(FAR, dog=-1)], [said("a dog")])  # nothing better was there
    report = world.report()
    assert [example.path.name for example in report.best] == [f"{k}.png" for k in range(8)]
    assert [example.path.name for example in report.worst] == [f"{k}.png" for k in range(10, 2, -1)]
    best = report.best[0]
    assert (best.title, best.width, best.height) == ("a dog (IoU 0.95)", 100, 100)
    assert [(mark.box, mark.text, mark.truth) for mark in best.boxes] == [
        (LEFT, "a dog", True),
        ((0, 0, 20, 19), "a dog", False),
    ]


# the whole


def grid(chance: np.random.Generator) -> list[Box]:
    """25 boxes side by side, in random order."""
    corners = [(20.0 * x, 20.0 * y) for x in range(5) for y in range(5)]
    chance.shuffle(corners)
    return [(x, y, x + 19, y + 19) for x, y in corners]


def test_an_oracle_finds_all_and_a_random_scorer_finds_one_of_many() -> None:
    chance = np.random.default_rng(0)
    texts = ["a dog", "a cat", "a man", "a woman", "a cup"]
    oracle, blind = World(), World()
    for _ in range(60):
        boxes = grid(chance)
        regions = [said(text, of=box) for text, box in zip(texts, boxes, strict=False)]
        for world in (oracle, blind):
            seen = [
                Seen(box, {t: float(chance.uniform(-9, -1)) if world is blind
                           else -1.0 - (box != regions[k].box) for k, t in enumerate(texts)})
                for box in grid(chance)
            ]  # fmt: skip
            world.add(seen, regions)
    assert figures(oracle.report()) == [1, 1, 1, 1]
    assert oracle.report().value("pointing") == 1
    assert oracle.report().worst == ()
    found = figures(blind.report())
    assert found == pytest.approx([1 / 25, 5 / 25, 10 / 25, 1], abs=0.06)
    assert blind.report().value("pointing") == pytest.approx(found[0])


def test_the_first_region_is_the_first_detection_of_a_real_network(
    tiny_checkpoint: Checkpoint,
) -> None:
    chance = np.random.default_rng(0)
    scorer = torch_scorer(tiny_checkpoint, device="cpu")
    texts = ("a red dog", "a cat", "the xyzzy cup")
    photos, described = [], []
    for _ in range(6):
        low = chance.uniform(0, 60, size=(30, 2))
        seen = Description(
            width=100,
            height=100,
            boxes=np.hstack([low, low + chance.uniform(5, 40, size=(30, 2))]).astype(np.float32),
            objectness=chance.uniform(0.1, 0.9, size=30).astype(np.float32),
            captions=("",) * 30,
            codes=np.abs(chance.normal(size=(30, 16))).astype(np.float16),
        )
        described.append(seen)
        regions = []
        for text in texts:
            (first,) = detect(seen, read_phrase(text, tiny_checkpoint.vocabulary), scorer, top=1)
            regions.append(said(text, of=first.box))
        photos.append(
            AnnotatedPhoto(
                path=Path("x.png"), width=100, height=100, regions=tuple(regions), captions=()
            )
        )
    told: list[tuple[str, int, int]] = []
    first, second = (
        evaluate_grounding(
            photos, described, scorer,
            on_progress=lambda what, done, of: told.append((what, done, of)),
        )
        for _ in range(2)
    )  # fmt: skip
    assert figures(first) == [1, 1, 1, 1]
    assert first.to_json() == second.to_json()
    assert told == [("phrases", done, 6) for done in range(1, 7)] * 2
    moved = [
        dataclasses.replace(photo, regions=photos[k - 1].regions) for k, photo in enumerate(photos)
    ]
    values = [
        evaluate_grounding([moved[k] for k in order], [described[k] for k in order], scorer).tables
        for order in (range(6), [3, 1, 0, 5, 2, 4])
    ]
    assert values[0] == values[1]


def test_the_command_prints_the_tables(tmp_path: Path, tiny_checkpoint_path: Path) -> None:
    regions = [
        {"box": [10, 10, 80, 90], "phrases": ["a dog"], "kind": "animals"},
        {"box": [60, 20, 150, 110], "phrases": ["a cup"], "long_phrases": ["a red cup"]},
    ]
    rows = [
        {"image": f"{number}.jpg", "width": 160, "height": 120, "regions": regions}
        for number in range(3)
    ]
    data = draw_photos(tmp_path, 3) / "val.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = (
        *("evaluate", "grounding", data, "--model", tiny_checkpoint_path, "--regions", 10),
        *("--cache", tmp_path / "cache"),
    )
    outcome = run(*command)
    assert outcome.code == 0
    assert outcome.lines[0].split()[:2] == ["Grounding", "phrases"]
    assert outcome.lines[1].split()[:2] == ["tiny", "6"]
    outcome = run(*command, "--long-phrases", "--limit", 2, "--regions-from", "truth", "--json")
    found = json.loads(outcome.stdout)
    assert (outcome.code, found["protocol"], found["model"]["name"]) == (0, "grounding", "tiny")
    (row,) = found["tables"][0]["rows"]
    assert row["values"]["phrases"]["mean"] == 6
    assert row["values"]["bound merged-box"]["mean"] == 1
