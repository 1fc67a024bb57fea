"""Ranking: with and without pruning, in any chunks, the answer is that of scoring everything."""

import numpy as np
import pytest
import torch
from conftest import WORDS
from torch import Tensor

from dcsearch.likelihood import (
    OBJECTNESS_WEIGHT,
    LikelihoodScorer,
    Phrase,
    read_phrase,
    region_scores,
)
from dcsearch.model.checkpoint import Checkpoint
from dcsearch.model.language import State
from dcsearch.ranking import RankedPhoto, Ranking
from dcsearch.vocabulary import Vocabulary

QUERIES = [
    ("a red dog on the blue square",),
    ("a",),
    ("a red dog", "the woman with a green cup in the square", "blue disc"),
    ("dog", "dog"),
]


@pytest.fixture
def scorer(tiny_checkpoint: Checkpoint) -> LikelihoodScorer:
    return LikelihoodScorer(tiny_checkpoint, device="cpu")


def phrases(*texts: str) -> list[Phrase]:
    return [read_phrase(text, Vocabulary(WORDS)) for text in texts]


class Album:
    """Photos with random regions, likely and unlikely to be things; some photos have none."""

    def __init__(self, photos: int, *, seed: int) -> None:
        chance = np.random.default_rng(seed)
        self.counts = chance.integers(0, 6, size=photos).tolist()
        self.counts[:2] = [0, 3]
        self.ids = chance.permutation(10 * photos)[:photos].tolist()
        total = sum(self.counts)
        self.codes = np.abs(chance.normal(size=(total, 16)) * 3).astype(np.float16)
        self.objectness = np.exp(-chance.uniform(0, 14, size=total)).astype(np.float32)

    def regions(self, photo: int) -> slice:
        first = sum(self.counts[:photo])
        return slice(first, first + self.counts[photo])

    def add_to(self, ranking: Ranking, *, chunks: int) -> None:
        """Photos in so many chunks, some of which may be empty."""
        for part in np.array_split(np.arange(len(self.ids)), chunks):
            photos = part.tolist()
            first = self.regions(photos[0]).start if photos else 0
            last = self.regions(photos[-1]).stop if photos else 0
            ranking.add(
                [self.ids[photo] for photo in photos], [self.counts[photo] for photo in photos],
                self.codes[first:last], self.objectness[first:last],
            )  # fmt: skip


def plain_answer(album: Album, scorer: LikelihoodScorer, asked: list[Phrase]) -> list[RankedPhoto]:
    """All photos with regions, every region scored for every phrase."""
    scored = []
    for photo, name in enumerate(album.ids):
        own = album.regions(photo)
        if album.counts[photo]:
            aligned = [
                region_scores(
                    scorer.log_likelihood(album.codes[own], phrase), album.objectness[own]
                ).max()
                for phrase in asked
            ]
            scored.append(RankedPhoto(name, float(np.mean(aligned))))
    return sorted(scored, key=lambda ranked: (-ranked.score, ranked.photo))


def assert_same(found: list[RankedPhoto], expected: list[RankedPhoto]) -> None:
    assert [ranked.photo for ranked in found] == [ranked.photo for ranked in expected]
    assert [ranked.score for ranked in found] == pytest.approx(
        [ranked.score for ranked in expected], rel=1e-5
    )


@pytest.mark.parametrize("texts", QUERIES)
def test_the_answer_is_that_of_a_plain_loop_in_any_chunks(
    texts: tuple[str, ...], scorer: LikelihoodScorer
) -> None:
    asked = phrases(*texts)
    for seed in range(5):
        album = Album(30, seed=seed)
        expected = plain_answer(album, scorer, asked)
        for top, chunks in ((1, 30), (4, 1), (4, 7), (4, 40), (100, 3)):
            for prune in (True, False):
                ranking = Ranking(scorer, asked, top=top, prune=prune)
                album.add_to(ranking, chunks=chunks)
                assert_same(ranking.best(), expected[:top])


def test_photos_without_regions_are_never_in_the_answer(scorer: LikelihoodScorer) -> None:
    ranking = Ranking(scorer, phrases("a dog"), top=5)
    ranking.add([7, 8], [0, 0], np.zeros((0, 16), np.float16), np.zeros(0, np.float32))
    assert ranking.best() == []
    ranking.add([], [], np.zeros((0, 16), np.float16), np.zeros(0, np.float32))
    assert ranking.best() == []
    ranking.add([9], [1], np.ones((1, 16), np.float16), np.ones(1, np.float32))
    assert [ranked.photo for ranked in ranking.best()] == [9]


def test_nothing_added_is_no_answer(scorer: LikelihoodScorer) -> None:
    assert Ranking(scorer, phrases("a dog"), top=5).best() == []


@pytest.mark.parametrize("prune", [True, False])
@pytest.mark.parametrize("chunks", [1, 2, 5, 13])
def test_of_photos_with_one_score_the_smaller_id_ranks_first(
    chunks: int, prune: bool, scorer: LikelihoodScorer
) -> None:
    """Wherever the chunks are cut: copies of a photo score the same to the last digit."""
    for seed in range(4):
        album = Album(13, seed=seed)
        album.counts = [2] * 13
        album.codes = np.tile(album.codes[:2], (13, 1))
        album.objectness = np.tile(album.objectness[:2], 13)
        ranking = Ranking(scorer, phrases("a red dog", "the cup"), top=4, prune=prune)
        album.add_to(ranking, chunks=chunks)
        assert [ranked.photo for ranked in ranking.best()] == sorted(album.ids)[:4]
        assert len({ranked.score for ranked in ranking.best()}) == 1


def test_the_order_of_the_phrases_does_not_matter(scorer: LikelihoodScorer) -> None:
    album = Album(30, seed=1)
    answers = []
    for texts in (("a red dog", "the blue cup on a disc"), ("the blue cup on a disc", "a red dog")):
        ranking = Ranking(scorer, phrases(*texts), top=6)
        album.add_to(ranking, chunks=4)
        answers.append(ranking.best())
    assert_same(*answers)


def test_one_region_may_answer_every_phrase_and_the_score_is_the_mean(
    scorer: LikelihoodScorer,
) -> None:
    asked = phrases("a dog", "a red cup")
    codes, objectness = np.ones((1, 16), np.float16), np.array([1 / 2], np.float32)
    ranking = Ranking(scorer, asked, top=1)
    ranking.add([3], [1], codes, objectness)
    likelihoods = [float(scorer.log_likelihood(codes, phrase)[0]) for phrase in asked]
    (ranked,) = ranking.best()
    assert ranked.photo == 3
    assert ranked.score == pytest.approx(
        np.mean(likelihoods) + OBJECTNESS_WEIGHT * np.log(1 / 2), abs=1e-4
    )


def rows_computed(
    scorer: LikelihoodScorer, ranking: Ranking, album: Album, monkeypatch: pytest.MonkeyPatch
) -> int:
    """Rows that the LSTM steps while the album is ranked, START's step apart."""
    rows = 0
    step = scorer.language.step

    def spy(state: State, tokens: Tensor) -> State:
        nonlocal rows
        rows += 0 if bool((tokens == scorer.language.end).any()) else len(state.hidden)
        return step(state, tokens)

    with monkeypatch.context() as patch:
        patch.setattr(scorer.language, "step", spy)
        album.add_to(ranking, chunks=10)
    return rows


@pytest.mark.parametrize("texts", [QUERIES[0], QUERIES[2]])
def test_pruning_computes_fewer_rows_and_the_same_answer(
    texts: tuple[str, ...], scorer: LikelihoodScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    album, asked = Album(100, seed=0), phrases(*texts)
    plain = Ranking(scorer, asked, top=3, prune=False)
    every = rows_computed(scorer, plain, album, monkeypatch)
    assert every == sum(album.counts) * sum(len(phrase.tokens) for phrase in asked)
    pruned = Ranking(scorer, asked, top=3)
    assert rows_computed(scorer, pruned, album, monkeypatch) < 0.9 * every
    assert_same(pruned.best(), plain.best())


@pytest.mark.parametrize("texts", QUERIES)
def test_pruning_changes_nothing_in_bfloat16_either(
    texts: tuple[str, ...], tiny_checkpoint: Checkpoint
) -> None:
    scorer = LikelihoodScorer(tiny_checkpoint, device="cpu", bfloat16=True)
    for seed in range(3):
        album, answers = Album(60, seed=seed), []
        for prune in (True, False):
            ranking = Ranking(scorer, phrases(*texts), top=4, prune=prune)
            album.add_to(ranking, chunks=8)
            answers.append(ranking.best())
        assert_same(*answers)


def test_adding_a_photo_at_a_time_keeps_the_best_so_far(scorer: LikelihoodScorer) -> None:
    album, asked = Album(20, seed=5), phrases("a red dog")
    ranking = Ranking(scorer, asked, top=3)
    scores: list[float] = []
    for photo, name in enumerate(album.ids):
        own = album.regions(photo)
        ranking.add([name], [album.counts[photo]], album.codes[own], album.objectness[own])
        best = ranking.best()
        assert [ranked.score for ranked in best] == sorted(
            (ranked.score for ranked in best), reverse=True
        )
        if best:
            scores.append(best[0].score)
    assert scores == sorted(scores)  # the best never gets worse
    assert len(best) == 3


def test_objectness_of_zero_is_no_infinite_loss(scorer: LikelihoodScorer) -> None:
    ranking = Ranking(scorer, phrases("a dog"), top=2)
    ranking.add([1], [1], np.ones((1, 16), np.float16), np.zeros(1, np.float32))
    (ranked,) = ranking.best()
    assert np.isfinite(ranked.score)


@pytest.mark.parametrize(("texts", "top"), [((), 3), (("a dog",), 0), (("a dog",), -1)])
def test_a_ranking_needs_a_phrase_and_a_place(
    texts: tuple[str, ...], top: int, scorer: LikelihoodScorer
) -> None:
    with pytest.raises(ValueError, match=f"got {len(texts)} and {top}"):
        Ranking(scorer, phrases(*texts), top=top)


def test_ranking_leaves_no_gradients_behind(scorer: LikelihoodScorer) -> None:
    ranking = Ranking(scorer, phrases("a dog"), top=2)
    ranking.add([1], [1], np.ones((1, 16), np.float16), np.ones(1, np.float32))
    assert all(weight.grad is None for weight in scorer.language.parameters())
    assert not torch.is_inference_mode_enabled()
