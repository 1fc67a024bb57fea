"""Detection: boxes of one photo for a phrase, against a plain loop over the scores."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.describe import Description
from dcsearch.scoring.detection import Detection, detect
from dcsearch.scoring.formula import OBJECTNESS_WEIGHT, SCORES, Term, region_scores
from dcsearch.scoring.phrase import Phrase, read_phrase
from dcsearch.scoring.scorer import RegionScorer
from dcsearch.scoring.torch_engine import TorchEngine, torch_scorer
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS

PHRASE = read_phrase("a red dog", Vocabulary(WORDS))


class ToldEngine(TorchEngine):
    """An engine that reads each region's log-likelihood from its code."""

    def __init__(self) -> None:
        self.embeds = False

    def terms(
        self, codes: np.ndarray, phrases: Sequence[Phrase], names: Sequence[Term]
    ) -> dict[Term, np.ndarray]:
        return {name: codes[:, :1].astype(np.float32) for name in names}


def told(prior: float = 0.0) -> RegionScorer[ToldEngine]:
    """A scorer by such an engine, with a landmark that gives phrases this prior."""
    return RegionScorer(ToldEngine(), SCORES["likelihood"], landmarks=np.array([[prior]]))


def description(
    *regions: tuple[tuple[float, float, float, float], float], objectness: float = 1.0
) -> Description:
    """A photo with boxes of these log-likelihoods."""
    return Description(
        width=100,
        height=100,
        boxes=np.array([box for box, _ in regions], dtype=np.float32).reshape(-1, 4),
        objectness=np.full(len(regions), objectness, dtype=np.float32),
        captions=tuple(f"caption {index}" for index in range(len(regions))),
        codes=np.array([[value] for _, value in regions], dtype=np.float16).reshape(-1, 1),
    )


LEFT, RIGHT, WIDE = (0.0, 0.0, 40.0, 40.0), (60.0, 0.0, 100.0, 40.0), (0.0, 0.0, 50.0, 40.0)


def test_boxes_come_best_first_with_all_that_is_known_of_them() -> None:
    half = float(np.float32(1 / 2))
    faint = OBJECTNESS_WEIGHT * np.log(1 / 2)
    found = detect(description((LEFT, -8), (RIGHT, -2), objectness=half), PHRASE, told(-5.0))
    assert [detection.score for detection in found] == pytest.approx([3 + faint, -3 + faint])
    found = [dataclasses.replace(detection, score=0.0) for detection in found]
    assert found == [
        Detection(
            box=box,
            score=0.0,
            log_likelihood=likelihood,
            log_prior=-5.0,
            objectness=half,
            caption=caption,
        )
        for box, likelihood, caption in ((RIGHT, -2.0, "caption 1"), (LEFT, -8.0, "caption 0"))
    ]


def test_a_box_that_overlaps_a_better_one_too_much_goes() -> None:
    found = detect(description((LEFT, -1), (WIDE, -2), (RIGHT, -3)), PHRASE, told())
    assert [detection.box for detection in found] == [LEFT, RIGHT]  # IoU of LEFT and WIDE: 4/5
    found = detect(description((LEFT, -1), (WIDE, -2), (RIGHT, -3)), PHRASE, told(), overlap=0.85)
    assert [detection.box for detection in found] == [LEFT, WIDE, RIGHT]


def test_objectness_decides_between_boxes_that_fit_alike() -> None:
    seen = description((LEFT, -3), (RIGHT, -3))
    seen.objectness[:] = [0.2, 0.9]
    assert [d.box for d in detect(seen, PHRASE, told())] == [RIGHT, LEFT]


def test_no_more_boxes_than_wanted() -> None:
    regions = [((10.0 * i, 0.0, 10.0 * i + 9, 9.0), -float(i)) for i in range(8)]
    assert len(detect(description(*regions), PHRASE, told())) == 5
    assert [d.log_likelihood for d in detect(description(*regions), PHRASE, told(), top=2)] == [
        0.0,
        -1.0,
    ]


def test_boxes_below_the_least_score_are_left_out_and_the_least_is_kept() -> None:
    seen = description((LEFT, -2), (RIGHT, -4))
    scores = [[d.score for d in detect(seen, PHRASE, told(), min_score=m)] for m in (-5, -4, -3)]
    assert scores == [[-2.0, -4.0], [-2.0, -4.0], [-2.0]]
    assert detect(seen, PHRASE, told(), min_score=-1.0) == []


def test_a_photo_without_regions_has_no_detections() -> None:
    assert detect(description(), PHRASE, told()) == []


def iou(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = float(np.prod(np.clip(sides, 0, None)))
    areas = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]))
    return both / (areas - both)


EDGES = st.integers(0, 60).map(float)
DRAWN = st.tuples(EDGES, EDGES, st.integers(1, 40), st.integers(1, 40)).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@given(
    st.lists(st.tuples(DRAWN, st.integers(-9, 0).map(float)), max_size=12),
    st.floats(0, 1),
)
def test_no_two_boxes_overlap_by_more_than_wanted_and_no_other_is_lost(
    regions: list[tuple[tuple[float, float, float, float], float]], overlap: float
) -> None:
    found = detect(description(*regions), PHRASE, told(), top=12, overlap=overlap)
    kept = [(np.array(detection.box), detection.score) for detection in found]
    for number, (box, _) in enumerate(kept):
        assert all(iou(box, other) <= overlap + 1e-6 for other, _ in kept[:number])
    for box, value in regions:
        near = (s for other, s in kept if iou(np.array(box), other) >= overlap - 1e-6)
        assert any(score >= value for score in near) or (tuple(box), value) in [
            (d.box, d.score) for d in found
        ]


def test_detections_are_those_of_a_plain_loop(tiny_checkpoint: Checkpoint) -> None:
    scorer = torch_scorer(tiny_checkpoint, device="cpu")
    for seed in range(5):
        chance = np.random.default_rng(seed)
        low = chance.uniform(0, 60, size=(40, 2))
        seen = Description(
            width=100,
            height=100,
            boxes=np.hstack([low, low + chance.uniform(5, 40, size=(40, 2))]).astype(np.float32),
            objectness=chance.uniform(0.1, 0.9, size=40).astype(np.float32),
            captions=tuple(map(str, range(40))),
            codes=np.abs(chance.normal(size=(40, 16))).astype(np.float16),
        )
        values = scorer.values(seen.codes, [PHRASE])[:, 0] - scorer.prior(PHRASE).value
        scores = region_scores(values, 0.0, scorer.weights.objectness_score(seen.objectness))
        kept: list[int] = []
        for index in np.argsort(-scores).tolist():
            if all(iou(seen.boxes[index], seen.boxes[other]) <= 0.3 for other in kept):
                kept.append(index)
        found = detect(seen, PHRASE, scorer, top=6, overlap=0.3)
        assert [int(d.caption) for d in found] == kept[:6]
        assert [d.score for d in found] == scores[kept[:6]].tolist()
