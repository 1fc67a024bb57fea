"""The search for each photo's best region, against the likelihoods of all regions."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor

from dcsearch.checkpoint.checkpoint import Checkpoint, load_checkpoint
from dcsearch.scoring.best_regions import likeliest_regions
from dcsearch.scoring.phrase import Phrase
from dcsearch.scoring.torch_engine import TorchEngine
from tests.conftest import WORDS

NEXT_WORD = "dcsearch.scoring.torch_engine.TorchEngine.next_word"
BOUND = "dcsearch.scoring.torch_engine.TorchEngine.next_word_bound"
COUNTS = [3, 0, 1, 200, 0, 7, 24, 25, 6, 90]  # regions of photos: none, within a wave, and more


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint_path: Path) -> Checkpoint:
    return load_checkpoint(tiny_checkpoint_path)


@pytest.fixture(scope="module")
def scorer(checkpoint: Checkpoint) -> TorchEngine:
    return TorchEngine(checkpoint, device="cpu")


def phrase(*tokens: int) -> Phrase:
    words = tuple(WORDS[token] for token in tokens)
    return Phrase(text=" ".join(words), words=words, tokens=tokens, unknown=())


def draw_phrases(chance: np.random.Generator, count: int) -> list[Phrase]:
    """Phrases of few different words, of which many begin alike and some are said again."""
    drawn: list[Phrase] = []
    while len(drawn) < count:
        kept = drawn[int(chance.integers(len(drawn)))].tokens if drawn else ()
        begin = kept[: int(chance.integers(len(kept) + 1))]
        more = chance.choice([1, 3, 6, 9], size=int(chance.integers(4))).tolist()
        if begin or more:
            drawn.append(phrase(*begin, *more))
    return drawn


def draw_codes(chance: np.random.Generator, count: int) -> np.ndarray:
    return np.abs(chance.normal(size=(count, 16))).astype(np.float16)


def photo_of_each(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def values_of_all(
    scorer: TorchEngine,
    codes: np.ndarray,
    phrases: Sequence[Phrase],
    *,
    offsets: np.ndarray,
    end: bool,
) -> np.ndarray:
    """What the search looks for the best of: (N, M)."""
    words, ends = scorer.words_and_end(codes, phrases)
    offsets = offsets.astype(np.float32).reshape(len(codes), -1)
    values: np.ndarray = (words + ends if end else words) + offsets
    return values


def first_best(values: np.ndarray, photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each photo's best value and the first region that has it."""
    count = int(photos[-1]) + 1 if len(photos) else 0
    scores = np.full((count, values.shape[1]), -np.inf, dtype=np.float32)
    regions = np.full(scores.shape, -1)
    for photo in np.unique(photos):
        own = np.flatnonzero(photos == photo)
        scores[photo] = values[own].max(axis=0)
        regions[photo] = own[values[own].argmax(axis=0)]
    return scores, regions


def in_quarters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Round every word's logarithm, so that sums are exact and many regions tie."""
    exact: Callable[..., Tensor] = TorchEngine.next_word

    def rounded(scorer: TorchEngine, hidden: Tensor, words: Sequence[int]) -> Tensor:
        return (exact(scorer, hidden, words) * 4).round() / 4

    monkeypatch.setattr(NEXT_WORD, rounded)
    monkeypatch.setattr(BOUND, lambda scorer, hidden, words: torch.zeros(len(hidden)))


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("of_phrases", [(), (12,)])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_regions_are_those_of_all_likelihoods(
    seed: int, of_phrases: tuple[int, ...], end: bool, scorer: TorchEngine
) -> None:
    chance = np.random.default_rng(seed)
    counts = chance.permutation(COUNTS)
    photos, codes = photo_of_each(counts), draw_codes(chance, sum(COUNTS))
    asked = draw_phrases(chance, 12)
    offsets = chance.normal(scale=2.0, size=(len(codes), *of_phrases))  # float64, of either sign
    values = values_of_all(scorer, codes, asked, offsets=offsets, end=end)
    expected, _ = first_best(values, photos)
    scores, regions = likeliest_regions(
        scorer, codes, asked, photos=photos, offsets=offsets, end=end
    )
    assert scores.dtype == np.float32
    assert regions.dtype == np.int64
    assert_allclose(scores, expected, rtol=1e-5)
    assert_array_equal(regions == -1, np.isneginf(scores))
    there = regions >= 0
    assert_array_equal(there.all(axis=1), counts[: len(scores)] > 0)
    rows, columns = np.nonzero(there)
    assert_array_equal(photos[regions[there]], rows)
    # The same to the last bit it need not be: sums over other batches are rounded otherwise.
    assert_allclose(values[regions[there], columns], expected[there], rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_below_the_least_is_not_looked_for(seed: int, scorer: TorchEngine) -> None:
    chance = np.random.default_rng(seed)
    photos, codes = photo_of_each(COUNTS), draw_codes(chance, sum(COUNTS))
    (asked,) = draw_phrases(chance, 1)
    offsets = chance.normal(scale=2.0, size=(len(codes), 1))
    every = likeliest_regions(scorer, codes, [asked], photos=photos, offsets=offsets)
    there = every[0] > -np.inf
    for least in (-np.inf, *np.sort(every[0][there])[[0, 3, -1]].tolist(), np.inf):
        scores, regions = likeliest_regions(
            scorer, codes, [asked], photos=photos, offsets=offsets, least=least - 1e-4
        )
        found = there & (every[0] >= least)
        assert_allclose(scores, np.where(found, every[0], -np.inf), atol=1e-5)
        assert_array_equal(regions, np.where(found, every[1], -1))


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("chunk", [8192, 5])
@pytest.mark.parametrize("seed", range(3))
def test_the_first_among_equals_is_the_best(
    seed: int, chunk: int, end: bool, scorer: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_quarters(monkeypatch)
    monkeypatch.setattr("dcsearch.scoring.best_regions.CHUNK", chunk)
    chance = np.random.default_rng(seed)
    counts = chance.permutation([2, 0, 60, 9, 1, 30])
    photos, codes = photo_of_each(counts), draw_codes(chance, int(counts.sum()))
    codes[chance.integers(len(codes), size=20)] = codes[:20]  # the same thing seen again
    asked = draw_phrases(chance, 10)
    offsets = chance.integers(-4, 5, size=len(codes)) / 4
    values = values_of_all(scorer, codes, asked, offsets=offsets, end=end)
    expected, where = first_best(values, photos)
    tied = sum(
        int((values[photos == photo] == best).sum() > 1)
        for photo, own in enumerate(expected)
        for best in own
        if np.isfinite(best)
    )
    scores, regions = likeliest_regions(
        scorer, codes, asked, photos=photos, offsets=offsets, end=end
    )
    assert_array_equal(scores, expected)
    assert_array_equal(regions, where)
    assert tied > 5  # or nothing has been shown


def test_where_all_regions_are_equal_the_first_of_each_photo_is_the_best(
    scorer: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_quarters(monkeypatch)
    codes = np.repeat(draw_codes(np.random.default_rng(0), 1), 80, axis=0)
    photos = photo_of_each([40, 5, 35])
    for end in (True, False):
        _, regions = likeliest_regions(
            scorer, codes, [phrase(1), phrase(1, 6)], photos=photos, offsets=np.zeros(80), end=end
        )
        assert_array_equal(regions, [[0, 0], [40, 40], [45, 45]])


def test_a_later_region_is_found_when_it_alone_is_better(scorer: TorchEngine) -> None:
    """The last of many, behind every wave, by its offsets."""
    chance = np.random.default_rng(0)
    photos, codes = photo_of_each([100, 100]), draw_codes(chance, 200)
    offsets = np.full(200, -50.0)
    offsets[[99, 150]] = 0.0
    scores, regions = likeliest_regions(
        scorer, codes, [phrase(1, 6)], photos=photos, offsets=offsets
    )
    assert_array_equal(regions, [[99], [150]])
    values = scorer.log_likelihoods(codes[[99, 150]], [phrase(1, 6)])
    assert_allclose(scores, values, rtol=1e-5)


def test_a_phrase_said_twice_has_the_same_answer_twice(scorer: TorchEngine) -> None:
    chance = np.random.default_rng(1)
    photos, codes = photo_of_each([30, 2, 8]), draw_codes(chance, 40)
    asked = [phrase(1, 3, 6), phrase(7), phrase(1, 3, 6), phrase(1, 3), phrase(7)]
    for end in (True, False):
        scores, regions = likeliest_regions(
            scorer, codes, asked, photos=photos, offsets=chance.normal(size=40), end=end
        )
        assert_array_equal(scores[:, [0, 1]], scores[:, [2, 4]])
        assert_array_equal(regions[:, [0, 1]], regions[:, [2, 4]])


def test_one_word_that_others_begin_with_is_a_phrase_of_its_own(scorer: TorchEngine) -> None:
    """It scores the same whether it is asked for alone or where others go on."""
    chance = np.random.default_rng(2)
    photos, codes = photo_of_each([50, 3]), draw_codes(chance, 53)
    offsets = chance.normal(size=53)
    for end in (True, False):
        alone, own = likeliest_regions(
            scorer, codes, [phrase(1)], photos=photos, offsets=offsets, end=end
        )
        among, regions = likeliest_regions(
            scorer,
            codes,
            [phrase(1, 6), phrase(1), phrase(1, 6, 9)],
            photos=photos,
            offsets=offsets,
            end=end,
        )
        assert_allclose(among[:, [1]], alone, rtol=1e-5)
        assert_array_equal(regions[:, [1]], own)


def test_a_very_long_phrase_is_followed_to_its_end(scorer: TorchEngine) -> None:
    chance = np.random.default_rng(3)
    photos, codes = photo_of_each([40, 1]), draw_codes(chance, 41)
    asked = [phrase(*chance.integers(1, len(WORDS), size=50).tolist())]
    offsets = chance.normal(size=41)
    values = values_of_all(scorer, codes, asked, offsets=offsets, end=True)
    expected, where = first_best(values, photos)
    scores, regions = likeliest_regions(scorer, codes, asked, photos=photos, offsets=offsets)
    assert_allclose(scores, expected, rtol=1e-5)
    assert_array_equal(regions, where)


@pytest.mark.parametrize("end", [True, False])
def test_no_regions_or_no_phrases_have_no_best(end: bool, scorer: TorchEngine) -> None:
    nothing = np.zeros(0, dtype=np.int64)
    scores, regions = likeliest_regions(scorer, 
        draw_codes(np.random.default_rng(0), 0), [phrase(1, 6)],
        photos=nothing, offsets=np.zeros(0), end=end,
    )  # fmt: skip
    assert (scores.shape, regions.shape) == ((0, 1), (0, 1))
    scores, regions = likeliest_regions(scorer, 
        draw_codes(np.random.default_rng(0), 3), [],
        photos=np.array([0, 0, 1]), offsets=np.zeros(3), end=end,
    )  # fmt: skip
    assert (scores.shape, regions.shape) == ((2, 0), (2, 0))


def test_what_cannot_win_any_more_is_read_no_further(
    scorer: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    exact: Callable[..., Tensor] = TorchEngine.next_word

    def counted(scorer: TorchEngine, hidden: Tensor, words: Sequence[int]) -> Tensor:
        read.append(len(hidden))
        return exact(scorer, hidden, words)

    monkeypatch.setattr(NEXT_WORD, counted)
    codes = draw_codes(np.random.default_rng(0), 200)
    offsets = np.full(200, -1e4)
    offsets[0] = 0.0
    asked = [phrase(1, 3, 6), phrase(1, 3)]
    _, regions = likeliest_regions(
        scorer, codes, asked, photos=photo_of_each([200]), offsets=offsets
    )
    assert_array_equal(regions, [[0, 0]])
    assert max(read) == 6  # of the first wave, which sets the bar; of the others none
    assert sum(read) < 200
    read.clear()
    likeliest_regions(scorer, codes, asked, photos=np.arange(200), offsets=offsets)
    assert read == [200] * 4  # nothing competes with a photo's only region


def test_no_word_is_likelier_than_its_bound(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcsearch.scoring.torch_engine._FREQUENT", 4)  # of 17 words
    chance = torch.Generator().manual_seed(0)
    hidden = torch.rand(200, 12, generator=chance) * 2 - 1
    for bfloat16 in (False, True):
        scorer = TorchEngine(checkpoint, device="cpu", bfloat16=bfloat16)
        for words in ([1], [9, 3], [scorer.language.end]):
            largest = scorer.next_word(hidden, words).amax(dim=1)
            bound = scorer.next_word_bound(hidden, words)
            assert (bound >= largest).all()
            assert (bound <= 0).all()
            assert (bound < 0).float().mean() > 0.5  # it tells something


def test_bfloat16_finds_nearly_the_best(checkpoint: Checkpoint, scorer: TorchEngine) -> None:
    fast = TorchEngine(checkpoint, device="cpu", bfloat16=True)
    chance = np.random.default_rng(4)
    photos, codes = photo_of_each([30, 2, 70]), draw_codes(chance, 102)
    asked, offsets = draw_phrases(chance, 8), chance.normal(size=102)
    values = values_of_all(scorer, codes, asked, offsets=offsets, end=True)
    expected, _ = first_best(values, photos)
    scores, regions = likeliest_regions(fast, codes, asked, photos=photos, offsets=offsets)
    assert_allclose(scores, expected, atol=0.1)
    assert_allclose(values[regions, np.arange(8)], expected, atol=0.2)


def test_the_search_leaves_what_it_was_given_as_it_was(scorer: TorchEngine) -> None:
    codes, offsets = draw_codes(np.random.default_rng(5), 40), np.zeros(40, dtype=np.float32)
    photos = photo_of_each([40])
    before = codes.copy()
    for array in (codes, offsets, photos):
        array.flags.writeable = False  # as arrays out of a database are
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        likeliest_regions(scorer, codes, [phrase(1, 6)], photos=photos, offsets=offsets)
    finally:
        torch.set_warn_always(always)
    assert_array_equal(codes, before)
