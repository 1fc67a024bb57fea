"""Rivals: the ranks are those of aligning every phrase in every photo."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import NamedTuple, cast

import numpy as np
import pytest
from conftest import WORDS
from numpy.testing import assert_allclose, assert_array_equal

from dcsearch.describe import Description
from dcsearch.evaluation.retrieval import mean_rank
from dcsearch.evaluation.rivals import Drawn, align_rivals, only_ranks_matter
from dcsearch.evaluation.scoring import NOWHERE, Alignment, Scoring, align
from dcsearch.likelihood import LikelihoodScorer
from dcsearch.model.checkpoint import Checkpoint
from dcsearch.phrase import Phrase
from dcsearch.vocabulary import Vocabulary

Tokens = tuple[int, ...]
A, DOG, CAT, END = WORDS.index("a"), WORDS.index("dog"), WORDS.index("cat"), len(WORDS)
TEXTS = ("a dog", "a red dog", "a red cup on the man", "man", "the cat", "cat", "xyzzy", "a cat")


def description(codes: np.ndarray, objectness: float | np.ndarray = 1.0) -> Description:
    """A photo whose regions have these codes (N, E)."""
    return Description(
        width=100,
        height=100,
        boxes=np.tile(np.array([0, 0, 9, 9], dtype=np.float32), (len(codes), 1)),
        objectness=np.broadcast_to(objectness, len(codes)).astype(np.float32),
        captions=("",) * len(codes),
        codes=codes.astype(np.float16),
    )


class Asked(NamedTuple):
    """What was searched for."""

    tokens: list[Tokens]
    least: np.ndarray | None


class Told:
    """Photos of one region each, whose code is a row of what is told of beginnings' log p."""

    def __init__(self, says: Sequence[dict[Tokens, float]]) -> None:
        self.says = says
        self.asked: list[Asked] = []
        self.checkpoint = SimpleNamespace(
            vocabulary=Vocabulary(WORDS), config=SimpleNamespace(embedding_size=0)
        )

    def best_regions(
        self, codes: np.ndarray, phrases: Sequence[Phrase], *, photos: np.ndarray,
        bias: np.ndarray, end: bool, least: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        self.asked.append(Asked([phrase.tokens for phrase in phrases], least))
        tokens = [(*phrase.tokens, END) if end else phrase.tokens for phrase in phrases]
        scores = np.array([[self.says[int(code)][own] for own in tokens] for code in codes[:, 0]])
        least = np.full_like(scores, -np.inf) if least is None else least
        regions = np.where(scores < least, -1, np.arange(len(codes))[:, None])
        return np.maximum(scores, least), regions


def test_what_rivals_must_score_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcsearch.evaluation.rivals._ROOM", 0.0)
    #                     dog    a cat, and its end
    values = np.array(
        [[-2.0, -2.5, -3.0],  # asks for both: others must come to -5
         [-1.0, -6.0, -6.5],  # cannot
         [-1.0, -1.0, -2.0],  # does
         [-1.0, -2.0, -9.0]]  # might have: by a cat of -4
    )  # fmt: skip
    told = Told([{(DOG, END): d, (A, CAT): c, (A, CAT, END): e} for d, c, e in values.tolist()])
    seen = [description(np.array([[number]])) for number in range(4)]
    scores, regions = align_rivals(
        seen, ["a cat", "dog"], cast(LikelihoodScorer, told), Scoring(),
        [Drawn(0, ("dog", "a cat"))],
    )  # fmt: skip
    assert_array_equal(scores, [[-3, -2], [-6, -1], [-2, -1], [-4, -1]])
    assert_array_equal(regions, [[0, 0], [-1, -1], [0, 0], [-1, 0]])
    sources, beginnings, rivals = told.asked
    nothing, all_there_is = [np.inf] * 2, [-np.inf] * 2
    assert sources.tokens == rivals.tokens == [(A, CAT), (DOG,)]
    assert_array_equal(cast(np.ndarray, sources.least), [all_there_is, *[nothing] * 3])
    assert (beginnings.tokens, beginnings.least) == ([(A, CAT), (DOG, END)], None)
    assert_array_equal(cast(np.ndarray, rivals.least), [all_there_is, nothing, [-4, -4], [-4, -3]])


def ranks(alignment: Alignment, texts: Sequence[str], drawn: Sequence[Drawn]) -> list[float]:
    found = []
    for photo, asked in drawn:
        values = alignment.scores[:, [texts.index(text) for text in asked]].astype(np.float64)
        values = values[:, ~np.isnan(values).any(axis=0)]
        found.append(mean_rank(values.mean(axis=1), photo))
    return found


@pytest.mark.parametrize(
    "scoring",
    [Scoring(), Scoring(end=False), Scoring(likelihood=0.25, similarity=3.0, objectness_weight=1)],
)
@pytest.mark.parametrize("batch", [7, 100])
def test_ranks_and_the_drawn_photos_regions_are_those_of_aligning_all(
    batch: int, scoring: Scoring, tiny_checkpoint: Checkpoint
) -> None:
    chance = np.random.default_rng(batch)
    scorer = LikelihoodScorer(tiny_checkpoint, device="cpu")
    counts = [0, *chance.integers(0, 30, size=39).tolist()]
    seen = [
        description(np.abs(chance.normal(size=(count, 16))), chance.uniform(0.1, 1, size=count))
        for count in counts
    ]
    drawn = [Drawn(photo, tuple(chance.permutation(TEXTS)[:3])) for photo in range(0, 40, 2)]
    drawn += [Drawn(1, ("a dog", "a dog")), Drawn(3, ("man", "xyzzy")), Drawn(5, ("a cat",))]
    told: list[tuple[str, int, int]] = []
    every, _ = align(seen, TEXTS, scorer, [scoring, Scoring(per_word=True)])  # all are computed
    own = align_rivals(
        seen, TEXTS, scorer, scoring, drawn, batch=batch,
        on_progress=lambda *step: told.append(step),
    )  # fmt: skip
    assert ranks(own, TEXTS, drawn) == ranks(every, TEXTS, drawn)
    for photo, texts in drawn:
        columns = [TEXTS.index(text) for text in texts]
        assert_array_equal(own.regions[photo, columns], every.regions[photo, columns])
        assert_allclose(own.scores[photo, columns], every.scores[photo, columns], rtol=1e-5)
    aligned = own.regions >= 0
    assert_array_equal(own.regions[aligned], every.regions[aligned])
    assert 0.1 < aligned.mean() < 0.9  # or nothing was left out
    assert np.isnan(own.scores[:, TEXTS.index("xyzzy")]).all()
    assert (own.scores[0, :6] == NOWHERE).all()  # a photo without regions
    assert told[-1] == ("phrases", 40, 40)
    assert len(told) == -(-40 // batch)


def test_without_a_known_word_nothing_is_aligned(tiny_checkpoint: Checkpoint) -> None:
    scorer = LikelihoodScorer(tiny_checkpoint, device="cpu")
    scores, regions = align_rivals(
        [description(np.ones((2, 16)))], ["xyzzy"], scorer, Scoring(), [Drawn(0, ("xyzzy",))]
    )
    assert np.isnan(scores).all()
    assert (regions == -1).all()


@pytest.mark.parametrize(
    ("scoring", "known"),
    [
        (Scoring(), True),
        (Scoring(end=False, unknown="spoken", objectness_weight=0.5), True),
        (Scoring(mean="probability"), False),
        (Scoring(per_word=True), False),
        (Scoring(likelihood=0.1, similarity=5.0), True),
        (Scoring(likelihood=0.0, similarity=5.0), False),
        (Scoring(prior=0.5), False),
    ],
)
def test_only_sums_that_fall_from_word_to_word_are_known(scoring: Scoring, known: bool) -> None:
    assert only_ranks_matter(scoring) == known
