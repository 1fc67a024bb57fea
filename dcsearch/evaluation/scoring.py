"""Scoring: what the paper's section 4.2 leaves open when phrases rank photos, each with a choice.

"Align each phrase to the region that makes it likeliest, and rank photos by the mean probability":
whether probabilities or their logarithms are averaged, whether END counts, whether long phrases
are evened out, what an unknown word does, and what else has a say, it does not tell. The defaults
are what the product does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dcsearch.describe import Description
from dcsearch.errors import UsageError
from dcsearch.evaluation.progress import Progress, silent
from dcsearch.hubness import HUBNESS_WEIGHT, hubness_score
from dcsearch.likelihood import LikelihoodScorer
from dcsearch.phrase import Phrase, known_phrase
from dcsearch.region_score import MIXTURES, OBJECTNESS_WEIGHT, Mixture, region_scores
from dcsearch.similarity import SimilarityScorer, photo_hubness
from dcsearch.vocabulary import Vocabulary

MEANS = ("log-probability", "probability")
UNKNOWNS = ("dropped", "spoken")
_LIKELIHOOD = MIXTURES["likelihood"]
NOWHERE = -1e9  # score of a photo without regions


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """One way to score regions and photos for phrases."""

    mean: str = "log-probability"  # or "probability", the paper's word
    end: bool = True  # the phrase must end where it ends
    per_word: bool = False  # the log-likelihood divided by its words, END counted where it counts
    unknown: str = "dropped"  # words outside the vocabulary; or "spoken", as the unknown word
    objectness_weight: float = OBJECTNESS_WEIGHT  # of log objectness, >= 0
    prior: float = 0.0  # share of log p(phrase), its mean over all regions, that is taken off
    likelihood: float = 1.0  # weight of the log-likelihood
    similarity: float = 0.0  # weight of the cosine in the space of phrases and regions
    hubness: float = HUBNESS_WEIGHT  # of what is taken off for it, where the model has probes

    def __post_init__(self) -> None:
        """Check the choices.

        Raises:
            UsageError: one that there is not.
        """
        if self.mean not in MEANS:
            raise UsageError(f"no mean {self.mean!r}; choose {' or '.join(MEANS)}")
        if self.unknown not in UNKNOWNS:
            raise UsageError(f"unknown words are not {self.unknown!r}; {' or '.join(UNKNOWNS)}")
        weights = (self.objectness_weight, self.prior, self.likelihood, self.similarity)
        if not all(0 <= weight < 1e6 for weight in (*weights, self.hubness)):
            raise UsageError("the weights of a score and the prior's share are at least 0")

    @property
    def name(self) -> str:
        """What differs from the likelihood as the product takes it, in words; "likelihood" for that
        itself."""
        default = Scoring()
        parts = []
        if self.mean != default.mean:
            parts.append(f"mean {self.mean}")
        if not self.end:
            parts.append("without END")
        if self.per_word:
            parts.append("per word")
        if self.unknown != default.unknown:
            parts.append("unknown words spoken")
        if self.objectness_weight != default.objectness_weight:
            parts.append(f"objectness {self.objectness_weight:g}")
        if self.hubness != default.hubness:
            parts.append(f"hubness {self.hubness:g}")
        if self.prior:
            parts.append(f"prior {self.prior:g}")
        mixture = Mixture(self.likelihood, self.similarity)
        if mixture in MIXTURES.values():
            parts += [own for own, mixed in MIXTURES.items() if mixed == mixture != _LIKELIHOOD]
        else:
            parts.append(f"likelihood {self.likelihood:g}, similarity {self.similarity:g}")
        return ", ".join(parts) or "likelihood"


class Alignment(NamedTuple):
    """Every phrase's aligned region in every photo."""

    scores: np.ndarray  # (P, M) float32; NOWHERE without regions, NaN for a phrase without a word
    regions: np.ndarray  # (P, M) int64; -1 where nothing is aligned


def align(
    described: Sequence[Description],
    texts: Sequence[str],
    scorer: LikelihoodScorer,
    scorings: Sequence[Scoring],
    *,
    on_progress: Progress = silent,
    batch: int = 200,
) -> list[Alignment]:
    """Alignment of every text in every photo, for each way of scoring.

    One scoring alone is searched for each photo's best region, which is several times faster than
    the likelihoods of all, of which several scorings share one computation.

    Args:
        described: P photos.
        texts: M, as people write them.
        scorer: of the network that described them.
        scorings: any number.
        on_progress: told ("phrases", photos done, photos).
        batch: photos scored at a time; changes nothing but memory and speed.
    """
    phrases, columns = phrases_to_score(texts, scorer.checkpoint.vocabulary, scorings)
    aligned = [
        Alignment(
            np.full((len(described), len(texts)), NOWHERE, dtype=np.float32),
            np.full((len(described), len(texts)), -1, dtype=np.int64),
        )
        for _ in scorings
    ]
    searched = len(scorings) == 1 and searchable(scorings[0])
    priors = [_Prior(len(phrases)) for _ in scorings]
    for first in range(0, len(described) if phrases else 0, batch):
        chunk = Chunk(described[first : first + batch])
        if searched:
            found = [search(chunk, phrases, scorer, scorings[0])]
        else:
            found = _compare(chunk, phrases, scorer, scorings, priors)
        for (scores, regions), result, column in zip(found, aligned, columns, strict=True):
            filled = [place for place, index in enumerate(column) if index is not None]
            asked = [index for index in column if index is not None]
            rows = np.arange(first, first + len(chunk.counts))[:, None]
            result.scores[rows, filled] = scores[:, asked]
            result.regions[rows, filled] = regions[:, asked]
        on_progress("phrases", min(first + batch, len(described)), len(described))
    for own, result, prior, column in zip(scorings, aligned, priors, columns, strict=True):
        for place, index in enumerate(column):
            if index is None:
                result.scores[:, place] = np.nan
            elif own.prior and prior.regions:
                here = result.regions[:, place] >= 0
                result.scores[here, place] -= own.prior * prior.log_mean[index]
    return aligned


def searchable(scoring: Scoring) -> bool:
    """Whether a partial sum of its score only falls, so that `search` knows it."""
    return scoring.likelihood > 0 and not (scoring.per_word or scoring.prior)


class Chunk:
    """The regions of some photos, photo by photo."""

    def __init__(self, described: Sequence[Description]) -> None:
        self.counts = np.array([len(description.codes) for description in described])  # (P,)
        self.starts = np.cumsum(self.counts) - self.counts  # (P,)
        self.codes = np.concatenate([description.codes for description in described])
        self.objectness = np.concatenate([description.objectness for description in described])

    def in_photos(self, scores: np.ndarray, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores and regions (F, M) of the F photos that have regions, as (P, M)."""
        full = self.counts > 0
        shape = (len(self.counts), scores.shape[1])
        all_scores = np.full(shape, NOWHERE, dtype=np.float32)
        all_regions = np.full(shape, -1, dtype=np.int64)
        all_scores[full] = scores
        all_regions[full] = np.where(regions < 0, -1, regions - self.starts[full, None])
        return all_scores, all_regions


class _Prior:
    """Mean probability over all regions of each of M phrases."""

    def __init__(self, phrases: int) -> None:
        self.log_sum = np.full(phrases, -np.inf)
        self.regions = 0

    def add(self, log_likelihoods: np.ndarray) -> None:
        """Take note of (N, M)."""
        if len(log_likelihoods):
            self.log_sum = np.logaddexp(self.log_sum, np.logaddexp.reduce(log_likelihoods, axis=0))
            self.regions += len(log_likelihoods)

    @property
    def log_mean(self) -> np.ndarray:
        """(M,), of at least one region."""
        mean: np.ndarray = self.log_sum - np.log(self.regions)
        return mean


def search(
    chunk: Chunk,
    phrases: Sequence[Phrase],
    scorer: LikelihoodScorer,
    scoring: Scoring,
    *,
    bias: np.ndarray | None = None,
    least: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and regions (P, M) by one scoring that is `searchable`.

    Args:
        bias: from `biases`, of these phrases or of others that stand for them.
        least: (P, M), as for `best_regions`.
    """
    weight = scoring.likelihood
    bias = biases(chunk, phrases, scorer, scoring) if bias is None else bias
    full = chunk.counts > 0
    scores, regions = scorer.best_regions(
        chunk.codes,
        phrases,
        photos=np.repeat(np.arange(full.sum()), chunk.counts[full]),
        bias=bias / weight,
        end=scoring.end,
        least=None if least is None else least[full] / weight,
    )
    return chunk.in_photos(weight * scores, regions)


def biases(
    chunk: Chunk, phrases: Sequence[Phrase], scorer: LikelihoodScorer, scoring: Scoring
) -> np.ndarray:
    """What is in the scores of R regions for M phrases beside likelihoods: (R,) or (R, M)."""
    nothing = np.zeros(len(chunk.codes), dtype=np.float32)
    things = region_scores(nothing, chunk.objectness, weight=scoring.objectness_weight)  # (R,)
    if scoring.hubness:
        hubness = photo_hubness(scorer, chunk.codes, chunk.objectness, chunk.counts)  # (P,)
        things = things + hubness_score(hubness, chunk.counts, weight=scoring.hubness)
    if not scoring.similarity:
        return things
    similarity = SimilarityScorer(scorer.checkpoint, device=str(scorer.device))
    cosines = similarity.cosines(chunk.codes, phrases)  # (R, M)
    mixed: np.ndarray = things[:, None] + scoring.similarity * cosines
    return mixed


def _compare(
    chunk: Chunk,
    phrases: Sequence[Phrase],
    scorer: LikelihoodScorer,
    scorings: Sequence[Scoring],
    priors: Sequence[_Prior],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores and regions (P, M) by each scoring; the priors take note."""
    words, end = scorer.words_and_end(chunk.codes, phrases)  # (R, M) each
    cosines = None
    if any(own.similarity for own in scorings):
        similarity = SimilarityScorer(scorer.checkpoint, device=str(scorer.device))
        cosines = similarity.cosines(chunk.codes, phrases)  # (R, M)
    hubness = np.zeros(len(chunk.counts), dtype=np.float32)  # (P,)
    if any(own.hubness for own in scorings):
        hubness = photo_hubness(scorer, chunk.codes, chunk.objectness, chunk.counts)
    lengths = np.array([len(phrase.tokens) for phrase in phrases])
    starts = chunk.starts[chunk.counts > 0]
    found = []
    for own, prior in zip(scorings, priors, strict=True):
        values = words + end if own.end else words
        if own.per_word:
            values = values / (lengths + own.end)
        if own.prior:
            prior.add(values)
        if own.likelihood != 1:
            values = own.likelihood * values
        if cosines is not None and own.similarity:
            values = values + own.similarity * cosines
        values = region_scores(values, chunk.objectness, weight=own.objectness_weight)
        values = values + hubness_score(hubness, chunk.counts, weight=own.hubness)[:, None]
        parts = np.split(values, starts[1:]) if len(starts) else []
        regions = [part.argmax(axis=0) + start for part, start in zip(parts, starts, strict=True)]
        where = np.array(regions, dtype=np.int64).reshape(-1, len(phrases))
        found.append(chunk.in_photos(np.take_along_axis(values, where, axis=0), where))
    return found


def phrases_to_score(
    texts: Sequence[str], vocabulary: Vocabulary, scorings: Sequence[Scoring]
) -> tuple[list[Phrase], list[list[int | None]]]:
    """The different phrases to score, and for each scoring which of them each text is."""
    phrases: list[Phrase] = []
    place: dict[tuple[int, ...], int] = {}  # of the tokens among the phrases
    columns: list[list[int | None]] = []
    for own in scorings:
        column: list[int | None] = []
        for text in texts:
            phrase = known_phrase(text, vocabulary)
            if phrase is None:
                column.append(None)
                continue
            if own.unknown == "spoken":
                tokens = tuple(vocabulary.encode(text))
                phrase = Phrase(text=text, words=phrase.words, tokens=tokens, unknown=())
            if phrase.tokens not in place:
                place[phrase.tokens] = len(phrases)
                phrases.append(phrase)
            column.append(place[phrase.tokens])
        columns.append(column)
    return phrases, columns
