"""Alignment: boxes and scores by hand, drawn pictures, and every choice of regions tried."""

import dataclasses
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dcsearch.alignment import Alignment, align
from dcsearch.question import Count, Question, Relation, RelationKind, Term, parse_term

Box = tuple[float, float, float, float]
KINDS: tuple[RelationKind, ...] = get_args(RelationKind)
UNSCORED = math.nan

# The photo of docs/asking.md, 100 x 100 pixels; regions 0 and 1 have an IoU of 1064 / 1200.
BOXES = [(10, 50, 40, 90), (12, 52, 40, 90), (60, 10, 90, 90), (65, 60, 85, 80)]
SCORES = {
    "a dog": [4, 3, -3, 1],
    "an animal": [5, 4, -1, 0],
    "a man": [-2, -1, 6, -4],
    "a ball": [-3, -4, -2, 3],
    "a cat": [-1, UNSCORED, -5, UNSCORED],
    "a bird": [UNSCORED] * 4,
}


def question(*phrases: str, **parts: object) -> Question:
    return Question(terms=tuple(map(parse_term, phrases)), **parts)  # type: ignore[arg-type]


def related(kind: RelationKind, phrase: str) -> tuple[Relation, ...]:
    return (Relation(kind, parse_term(phrase)),)


def answer(asked: Question, *, bar: float = 0.0) -> Alignment | None:
    """How the photo above answers."""
    scores = np.array([SCORES[phrase] for phrase in asked.phrases], dtype=np.float64).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dcsearch.alignment.BAR", bar)
        return align(asked, boxes=np.array(BOXES), scores=scores, width=100, height=100)


def aligned(score: float, *regions: tuple[int, int]) -> Alignment:
    return Alignment(score=score, regions=regions)


def test_the_photo_is_the_one_that_the_documentation_calculates_with() -> None:
    page = (Path(__file__).parents[2] / "docs" / "asking.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    header, *regions = [row for row in rows if row[0] == "region" or row[0].isdigit()]
    assert [row[1] for row in regions] == [", ".join(map(str, box)) for box in BOXES]
    for column, phrase in enumerate(header[2:], start=2):
        assert [int(row[column].replace("\N{MINUS SIGN}", "-")) for row in regions] == SCORES[
            phrase
        ]


def test_one_phrase_is_answered_by_its_best_region() -> None:
    assert answer(question("a dog")) == aligned(4, (0, 0))


def test_several_phrases_score_the_weighted_mean_of_each_ones_best_region() -> None:
    assert answer(question("a dog", "a man")) == aligned(5, (0, 0), (1, 2))
    assert answer(question("3:a dog", "a man")) == aligned(4.5, (0, 0), (1, 2))
    assert answer(question("a dog", "an animal")) == aligned(4.5, (0, 0), (1, 0))


def test_and_gives_every_phrase_a_thing_of_its_own() -> None:
    # 1 + 5 is more than 4 + 0; region 1 is region 0's thing.
    asked = question("a dog", "an animal", together="and")
    assert answer(asked) == aligned(3, (0, 3), (1, 0))
    # With four times the weight the dog has the better region: 4 * 4 + 0 over 4 * 1 + 5.
    asked = question("4:a dog", "an animal", together="and")
    assert answer(asked) == aligned(16 / 5, (0, 0), (1, 3))


def test_and_gives_the_phrases_of_relations_things_of_their_own_too() -> None:
    # Left of a man at 2: one animal is the dog at 0, so another one to the right has to be at 3.
    asked = question("a dog", together="and", relations=(
        *related("left_of", "a man"), *related("left_of", "an animal"),
    ))  # fmt: skip
    assert answer(asked) == aligned((4 + 6 + 0) / 3, (0, 0), (1, 2), (2, 3))
    # A ball inside a man and right of a dog, with an animal: the dog would do for it, were it free.
    asked = question("a ball", "an animal", relations=related("right_of", "a dog"))
    assert answer(asked) == aligned((3 + 5 + 4) / 3, (0, 3), (1, 0), (2, 0))
    asked = dataclasses.replace(asked, together="and")
    assert answer(asked) == aligned((3 - 1 + 4) / 3, (0, 3), (1, 2), (2, 0))


def test_same_region_wants_one_region_for_all_phrases() -> None:
    together = question("a dog", "a man", together="same_region")
    assert answer(together) == aligned(1.5, (0, 2), (1, 2))
    weighted = question("3:a dog", "a man", together="same_region")
    assert answer(weighted) == aligned((3 * 4 - 2) / 4, (0, 0), (1, 0))
    with_relation = dataclasses.replace(weighted, relations=related("left_of", "a ball"))
    assert answer(with_relation) == aligned((12 - 2 + 3) / 5, (0, 0), (1, 0), (2, 3))


def test_without_leaves_out_photos_where_a_region_reaches_the_bar() -> None:
    without_ball = question("a dog", without=(Term("a ball"),))
    assert answer(without_ball) is None
    assert answer(without_ball, bar=3) is None
    assert answer(without_ball, bar=3.1) == aligned(4, (0, 0))
    # What is unscored is not there.
    asked = question("a dog", without=(Term("a cat"), Term("a bird")))
    assert answer(asked) == aligned(4, (0, 0))
    assert answer(asked, bar=-1) is None


def test_a_relation_takes_the_best_pair_that_lies_so() -> None:
    asked = question("a dog", relations=related("left_of", "a man"))
    assert answer(asked) == aligned(5, (0, 0), (1, 2))
    # The other way round only a poor pair does: -1 for a man at 1, 1 for a dog at 3.
    asked = question("a man", relations=related("left_of", "a dog"))
    assert answer(asked) == aligned(0, (0, 1), (1, 3))
    asked = question("a ball", relations=related("inside", "3:a man"))
    assert answer(asked) == aligned((3 + 18) / 4, (0, 3), (1, 2))


def test_several_relations_hold_for_the_same_region() -> None:
    asked = question("a ball", relations=(
        *related("inside", "a man"), *related("right_of", "a dog"),
    ))  # fmt: skip
    assert answer(asked) == aligned((3 + 6 + 4) / 3, (0, 3), (1, 2), (2, 0))
    asked = question("a ball", relations=(
        *related("inside", "a man"), *related("above", "a dog"),
    ))  # fmt: skip
    assert answer(asked) is None


def test_a_relation_is_between_different_things() -> None:
    # Region 1 lies within region 0, but is the same dog.
    assert answer(question("a dog", relations=related("inside", "an animal"))) == aligned(
        (1 - 1) / 2, (0, 3), (1, 2)
    )


def test_a_count_counts_different_things_that_reach_the_bar() -> None:
    # 4 and 3 are one dog; 1 is another.
    assert answer(question("a dog", count=Count("=", 2))) == aligned(4, (0, 0), (0, 3))
    assert answer(question("a dog", count=Count(">", 2))) is None
    assert answer(question("a dog", count=Count("<", 2))) is None
    assert answer(question("a dog", count=Count("<", 2)), bar=1.5) == aligned(4, (0, 0))
    asked = question("a dog", count=Count("=", 1), min_score=2)
    assert answer(asked, bar=-9) == aligned(4, (0, 0))


def test_a_count_is_not_met_by_none() -> None:
    asked = question("a cat", count=Count("<=", 3))
    assert answer(asked) is None
    assert answer(asked, bar=-1) == aligned(-1, (0, 0))
    # Unscored regions are never counted, however low the bar.
    asked = question("a cat", count=Count("=", 2), min_score=-math.inf)
    assert answer(asked) == aligned(-1, (0, 0), (0, 2))


def test_what_is_counted_stands_beside_the_region_that_lies_as_asked() -> None:
    asked = question("a dog", count=Count("=", 2), relations=related("inside", "a man"))
    assert answer(asked) == aligned((1 + 6) / 2, (0, 3), (0, 0), (1, 2))


def test_small_regions_do_not_answer_and_are_not_counted() -> None:
    # Region 3 covers 400 of 10,000 pixels.
    assert answer(question("a ball", min_area=0.04)) == aligned(3, (0, 3))
    assert answer(question("a ball", min_area=0.041)) == aligned(-2, (0, 2))
    assert answer(question("a dog", count=Count(">", 1), min_area=0.05)) is None
    assert answer(question("a dog", relations=related("left_of", "a ball"), min_area=0.05)) == (
        aligned(1, (0, 0), (1, 2))
    )
    assert answer(question("a dog", min_area=0.25)) is None


def test_small_regions_still_show_what_must_not_be_there() -> None:
    assert answer(question("a dog", without=(Term("a ball"),), min_area=0.05)) is None


def test_a_photo_below_the_least_score_is_left_out() -> None:
    assert answer(question("a dog", "a man", min_score=5)) is not None
    assert answer(question("a dog", "a man", min_score=5.1)) is None


def test_a_phrase_that_no_region_is_scored_for_has_no_answer() -> None:
    assert answer(question("a bird")) is None
    assert answer(question("a dog", "a bird")) is None
    assert answer(question("a dog", "a bird", together="and")) is None
    assert answer(question("a dog", relations=related("left_of", "a bird"))) is None


def test_a_photo_without_regions_does_not_answer() -> None:
    asked = question("a dog", without=(Term("a cat"),))
    nothing = {"boxes": np.empty((0, 4)), "scores": np.empty((0, 2))}
    assert align(asked, **nothing, width=100, height=100) is None


def test_scores_of_another_shape_are_a_mistake() -> None:
    with pytest.raises(
        ValueError, match=r"1 boxes and 2 phrases need as many scores, got \(1, 1\)"
    ):
        align(
            question("a dog", "a man"),
            boxes=np.ones((1, 4)), scores=np.zeros((1, 1)), width=9, height=9,
        )  # fmt: skip


def test_what_was_given_is_left_as_it_was() -> None:
    scores = np.array([[UNSCORED], [2.0]])
    boxes = np.array([(0, 0, 1, 1), (0, 0, 9, 9)], dtype=np.float32)
    for array in (scores, boxes):
        array.flags.writeable = False
    asked = question("a dog", min_area=0.5)
    assert align(asked, boxes=boxes, scores=scores, width=9, height=9) == aligned(2, (0, 1))


class Picture:
    """A red square and a blue disc on white; a region shows a colour as far as it is filled."""

    def __init__(self, *, red: Box, blue: Box) -> None:
        self.image = Image.new("RGB", (100, 100), "white")
        draw = ImageDraw.Draw(self.image)
        draw.ellipse((*blue[:2], blue[2] - 1, blue[3] - 1), fill="blue")
        draw.rectangle((*red[:2], red[2] - 1, red[3] - 1), fill="red")
        self.boxes = [red, blue, (0, 0, 100, 100)]

    def score(self, box: Sequence[float], colour: str) -> float:
        """5 for a box filled with the colour, -5 for one without it."""
        pixels = np.asarray(self.image.crop(tuple(map(int, box)))).reshape(-1, 3)
        wanted = {"red": (255, 0, 0), "blue": (0, 0, 255)}[colour]
        return float(10 * (pixels == wanted).all(axis=1).mean() - 5)

    def ask(self, asked: Question) -> list[Box] | None:
        """The boxes that answer."""
        scores = [[self.score(box, colour) for colour in asked.phrases] for box in self.boxes]
        found = align(
            asked, boxes=np.array(self.boxes), scores=np.array(scores), width=100, height=100
        )
        return found and [self.boxes[row] for _, row in found.regions]


@pytest.mark.parametrize(
    ("red", "blue", "held"),
    [
        ((10, 40, 30, 60), (60, 30, 90, 60), {"left_of"}),
        ((60, 40, 80, 60), (10, 30, 40, 60), {"right_of"}),
        ((40, 5, 60, 25), (30, 60, 60, 90), {"above"}),
        ((40, 70, 60, 90), (30, 10, 60, 40), {"below"}),
        ((40, 40, 60, 60), (20, 20, 80, 80), {"inside", "overlaps"}),
        ((21, 40, 41, 60), (20, 20, 80, 80), {"inside", "overlaps"}),  # in the disc's left part
        ((10, 40, 30, 60), (12, 10, 90, 90), {"inside", "overlaps"}),  # 18 of 20 columns
        ((9, 40, 29, 60), (12, 10, 90, 90), {"overlaps"}),  # 17 of 20 columns
        ((2, 40, 22, 60), (12, 10, 90, 90), {"left_of", "overlaps"}),  # 10 of 20 columns
        ((10, 10, 40, 40), (30, 31, 80, 81), {"left_of", "above", "overlaps"}),  # 90 of 900
        ((10, 10, 40, 40), (30, 32, 80, 82), {"left_of", "above"}),  # 80 of 900
        ((70, 70, 90, 90), (10, 10, 40, 40), {"right_of", "below"}),
    ],
)
def test_a_drawn_picture_holds_the_relations_that_one_sees_in_it(
    red: Box, blue: Box, held: set[RelationKind]
) -> None:
    picture = Picture(red=red, blue=blue)
    for kind in KINDS:
        asked = question("red", relations=related(kind, "blue"), min_score=2.6)
        assert picture.ask(asked) == ([red, blue] if kind in held else None), kind


def test_of_a_drawn_picture_all_other_parts_of_a_question_hold_as_one_sees() -> None:
    red, blue = (10, 40, 30, 60), (60, 30, 90, 60)
    picture = Picture(red=red, blue=blue)
    assert picture.ask(question("red", "blue", together="and")) == [red, blue]
    assert picture.ask(question("red", "blue", together="same_region", min_score=0.1)) is None
    assert picture.ask(question("red", without=(Term("blue"),))) is None
    assert picture.ask(question("red", count=Count("=", 1))) == [red]
    assert picture.ask(question("red", count=Count(">=", 2))) is None
    assert picture.ask(question("red", min_area=0.04)) == [red]
    assert picture.ask(question("red", min_area=0.041, min_score=0)) is None


@dataclasses.dataclass(frozen=True)
class Case:
    """Regions at random, and a question about them."""

    asked: Question
    boxes: np.ndarray
    scores: np.ndarray

    def align(self, **parts: object) -> Alignment | None:
        """The answer, parts of the question replaced; new phrases have the scores of the first."""
        asked = dataclasses.replace(self.asked, **parts)  # type: ignore[arg-type]
        columns = [
            self.asked.phrases.index(text) if text in self.asked.phrases else 0
            for text in asked.phrases
        ]
        scores = self.scores[:, columns]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dcsearch.alignment.BAR", 0.0)
            return align(asked, boxes=self.boxes, scores=scores, width=12, height=12)


def cases(count: int, *, seed: int) -> Iterator[Case]:
    for number in range(count):
        chance = random.Random(1000 * seed + number)
        names = iter("abcdefgh")
        terms = tuple(
            Term(next(names), chance.choice((0.5, 1, 3))) for _ in range(chance.randint(1, 3))
        )
        relations = tuple(
            Relation(chance.choice(KINDS), Term(next(names), chance.choice((1, 2))))
            for _ in range(chance.choice((0, 0, 1, 2)) if len(terms) < 3 else 0)
        )
        asked = Question(
            terms=terms,
            together=chance.choice(("photo", "and", "same_region")),
            relations=relations,
            without=tuple(Term(next(names)) for _ in range(chance.choice((0, 0, 1)))),
            count=chance.choice((None, Count(">=", 2))) if len(terms) == 1 else None,
            min_area=chance.choice((None, None, 0.1)),
            min_score=chance.choice((None, None, -1)),
        )
        boxes = []
        for _ in range(chance.randint(1, 6)):
            x, y = chance.randrange(9), chance.randrange(9)
            boxes.append((x, y, x + chance.randint(1, 12 - x), y + chance.randint(1, 12 - y)))
        scores = np.array([[chance.gauss(0, 3) for _ in asked.phrases] for _ in boxes])
        scores[:, len(asked.sought) :] -= 4  # some photos are to be without
        scores[[[chance.random() < 0.1 for _ in asked.phrases] for _ in boxes]] = UNSCORED
        yield Case(asked, np.array(boxes, dtype=np.float64), scores)


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    shared = common(a, b, 0) * common(a, b, 1)
    return shared / (area(a) + area(b) - shared)


def common(a: Sequence[float], b: Sequence[float], axis: int) -> float:
    return max(0, min(a[axis + 2], b[axis + 2]) - max(a[axis], b[axis]))


def area(a: Sequence[float]) -> float:
    return (a[2] - a[0]) * (a[3] - a[1])


def lies(kind: RelationKind, a: Sequence[float], b: Sequence[float]) -> bool:
    """The definitions of docs/asking.md, once more in other words."""
    if iou(a, b) > 0.5:
        return False
    if kind in ("inside", "overlaps"):
        share = common(a, b, 0) * common(a, b, 1)
        return share >= 0.9 * area(a) if kind == "inside" else share >= 0.1 * min(area(a), area(b))
    if kind in ("right_of", "below"):
        a, b = b, a
    axis = 0 if kind in ("left_of", "right_of") else 1
    narrower = min(a[axis + 2] - a[axis], b[axis + 2] - b[axis])
    ordered = a[axis] + a[axis + 2] < b[axis] + b[axis + 2]
    return ordered and common(a, b, axis) <= narrower / 2


def nested(box: Sequence[float], other: Sequence[float]) -> float:
    """The share of the smaller box that lies in the other."""
    shared = common(box, other, 0) * common(box, other, 1)
    return shared / min(area(box), area(other))


def every_choice(case: Case) -> tuple[float, tuple[int, ...]] | None:
    """The best score and rows, by trying all choices of rows."""
    asked, boxes, scores = case.asked, case.boxes.tolist(), case.scores
    sought, terms = len(asked.sought), len(asked.terms)
    if (scores[:, sought:] >= 0).any():
        return None
    large = [r for r, box in enumerate(boxes) if area(box) >= 144 * (asked.min_area or 0)]
    if asked.count is not None:
        kept: list[int] = []
        for row in sorted(large, key=lambda row: -np.nan_to_num(scores[row, 0], nan=-99)):
            enough = scores[row, 0] >= (asked.min_score or 0)
            if enough and all(nested(boxes[row], boxes[other]) <= 0.5 for other in kept):
                kept.append(row)
        if not asked.count.holds(len(kept)):
            return None
    weights = np.array([term.weight for term in asked.sought])
    found = []
    for rows in itertools.product(large, repeat=sought):
        chosen = [boxes[row] for row in rows]
        apart = all(iou(a, b) <= 0.5 for a, b in itertools.combinations(chosen, 2))
        if (
            (asked.together == "and" and not apart)
            or (asked.together == "same_region" and len(set(rows[:terms])) > 1)
            or not all(
                lies(relation.kind, chosen[0], other)
                for relation, other in zip(asked.relations, chosen[terms:], strict=True)
            )
        ):
            continue
        score = np.average(scores[rows, range(sought)], weights=weights)
        if score >= (-np.inf if asked.min_score is None else asked.min_score):
            found.append((float(score), rows))
    return max(found, default=None)


def test_the_answer_is_the_best_of_every_choice_of_regions() -> None:
    answers = 0
    for case in cases(250, seed=1):
        found, best = case.align(), every_choice(case)
        assert (found is None) == (best is None), case
        if found and best:
            first = dict(reversed(found.regions))  # of counted regions the first is aligned
            assert found.score == pytest.approx(best[0])
            assert tuple(first[column] for column in range(len(first))) == best[1]
            answers += 1
    assert 80 < answers < 200  # both kinds are tried


def test_the_order_of_regions_changes_nothing() -> None:
    for number, case in enumerate(cases(100, seed=2)):
        order = np.random.default_rng(number).permutation(len(case.boxes))
        found = case.align()
        shuffled = Case(case.asked, case.boxes[order], case.scores[order]).align()
        assert (found is None) == (shuffled is None)
        if found and shuffled:
            assert shuffled.score == pytest.approx(found.score)
            assert tuple((c, int(order[row])) for c, row in shuffled.regions) == found.regions


def test_asking_more_never_adds_an_answer() -> None:
    for case in cases(100, seed=3):
        asked = case.asked
        plain = {"without": (), "relations": (), "count": None, "min_area": None, "min_score": None}
        for part, nothing in plain.items():
            if case.align() is not None:
                assert case.align(**{part: nothing}) is not None, part
        if case.align(relations=(*asked.relations, Relation("left_of", Term("more")))) is not None:
            assert case.align() is not None


def test_distinct_or_common_regions_never_score_more_than_any() -> None:
    for case in cases(100, seed=4):
        anywhere = case.align(together="photo", min_score=None)
        for together in ("and", "same_region"):
            stricter = case.align(together=together, min_score=None)
            if stricter is not None:
                assert anywhere is not None
                assert stricter.score <= anywhere.score + 1e-9


def test_opposite_relations_mirror_one_another_and_what_is_inside_overlaps() -> None:
    for case in cases(100, seed=5):
        a, b = Term("a"), Term("b")

        def score(kind: RelationKind, first: Term, other: Term, case: Case = case) -> float:
            asked = Question(terms=(first,), relations=(Relation(kind, other),))
            columns = [0 if text == "a" else -1 for text in asked.phrases]
            scores = case.scores[:, columns]
            found = align(asked, boxes=case.boxes, scores=scores, width=12, height=12)
            return -math.inf if found is None else found.score

        assert score("left_of", a, b) == score("right_of", b, a)
        assert score("above", a, b) == score("below", b, a)
        assert score("inside", a, b) <= score("overlaps", a, b)
