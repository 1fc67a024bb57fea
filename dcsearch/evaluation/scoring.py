"""Scoring: what the paper's section 4.2 leaves open when phrases rank photos, each as an option.

"Align each phrase to the region that makes it likeliest, and rank photos by the mean probability":
this does not say whether probabilities or their logarithms are averaged, whether END counts,
whether long phrases are normalised by length, how unknown words are treated, and what else adds to
a score. The defaults are those of a query.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, get_args

import numpy as np

from dcsearch.choices import Mean, UnknownWords
from dcsearch.describe import Description
from dcsearch.errors import UsageError
from dcsearch.evaluation.progress import Progress, silent
from dcsearch.scoring.best_regions import best_regions
from dcsearch.scoring.formula import (
    COSINE_WEIGHT,
    HUBNESS_WEIGHT,
    OBJECTNESS_WEIGHT,
    SCORES,
    Floats,
    Term,
    Weights,
    region_scores,
)
from dcsearch.scoring.phrase import Phrase, known_phrase
from dcsearch.scoring.scorer import RegionScorer
from dcsearch.scoring.torch_engine import TorchEngine
from dcsearch.vocabulary import Vocabulary

MEANS = get_args(Mean)
UNKNOWNS = get_args(UnknownWords)
NOWHERE = -1e9  # score of a photo without regions


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """One way to score regions and photos for phrases."""

    mean: Mean = "log-probability"  # or "probability", the paper's word
    end: bool = True  # the phrase must end where it ends
    per_word: bool = False  # the log-likelihood divided by its words, END counted where it counts
    unknown: UnknownWords = "dropped"  # words outside the vocabulary; "spoken": as <unk>
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
    def weights(self) -> Weights:
        """The weights of the terms."""
        return Weights(
            log_likelihood=self.likelihood,
            cosine=self.similarity,
            objectness=self.objectness_weight,
            hubness=self.hubness,
        )

    @property
    def name(self) -> str:
        """What differs from a query scored by likelihood, in words; "likelihood" for nothing."""
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
        own = (self.likelihood, self.similarity)
        names = [name for name, of in SCORES.items() if (of.log_likelihood, of.cosine) == own]
        parts += [name for name in names if name != "likelihood"]
        if not names:
            parts.append(f"likelihood {self.likelihood:g}, similarity {self.similarity:g}")
        return ", ".join(parts) or "likelihood"


def other_scorings(chosen: Scoring, *, embedding: bool, probes: bool) -> list[Scoring]:
    """Other ways to score than the one chosen, to compare it with, each once.

    Args:
        chosen: what other shares of the hubness are tried with.
        embedding: whether the model has the space of phrases and regions.
        probes: whether it has probes.
    """
    scorings = [
        Scoring(mean=mean, objectness_weight=weight)
        for mean, weight in itertools.product(MEANS, (0.0, 1.0, 3.0, 6.0))
    ]
    scorings += [
        Scoring(end=False),
        Scoring(per_word=True),
        Scoring(unknown="spoken"),
        Scoring(mean="probability", prior=1.0),
        Scoring(mean="probability", per_word=True),
    ]
    if embedding:
        scorings += [
            Scoring(likelihood=share, similarity=COSINE_WEIGHT, objectness_weight=weight)
            for share, weight in itertools.product((0.0, 0.5, 1.0), (2.0, 3.0, 4.0))
        ]
        scorings += [Scoring(similarity=weight) for weight in (5.0, 10.0)]
        scorings += [
            Scoring(likelihood=0.5, similarity=weight) for weight in (10.0, 20.0, 30.0, 40.0)
        ]
    if probes:
        scorings += [replace(chosen, hubness=weight) for weight in (0.0, 0.15, 0.6)]
    return [scoring for scoring in dict.fromkeys(scorings) if scoring != chosen]


class PhraseScores(NamedTuple):
    """The best region of every photo for every phrase."""

    scores: np.ndarray  # (P, M) float32; NOWHERE without regions, NaN for a phrase without a word
    regions: np.ndarray  # (P, M) int64; -1 where there is none


def score_phrases(
    described: Sequence[Description],
    texts: Sequence[str],
    engine: TorchEngine,
    scorings: Sequence[Scoring],
    *,
    on_progress: Progress = silent,
    batch: int = 200,
) -> list[PhraseScores]:
    """The best region of every photo for every text, for each scoring.

    One scoring alone is searched for each photo's best region, which is several times faster than
    the likelihoods of all, of which several scorings share one computation.

    Args:
        described: P photos.
        texts: M, as people write them.
        engine: of the network that described them.
        scorings: any number.
        on_progress: called with ("phrases", photos done, photos).
        batch: photos scored at a time; changes nothing but memory and speed.
    """
    phrases, columns = phrases_to_score(texts, engine.vocabulary, scorings)
    results = [
        PhraseScores(
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
            found = [search(chunk, phrases, engine, scorings[0])]
        else:
            found = _compare(chunk, phrases, engine, scorings, priors)
        for (scores, regions), result, column in zip(found, results, columns, strict=True):
            filled = [place for place, index in enumerate(column) if index is not None]
            asked = [index for index in column if index is not None]
            rows = np.arange(first, first + len(chunk.counts))[:, None]
            result.scores[rows, filled] = scores[:, asked]
            result.regions[rows, filled] = regions[:, asked]
        on_progress("phrases", min(first + batch, len(described)), len(described))
    for own, result, prior, column in zip(scorings, results, priors, columns, strict=True):
        for place, index in enumerate(column):
            if index is None:
                result.scores[:, place] = np.nan
            elif own.prior and prior.regions:
                here = result.regions[:, place] >= 0
                result.scores[here, place] -= own.prior * prior.log_mean[index]
    return results


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
        """Add log-likelihoods (N, M)."""
        if len(log_likelihoods):
            self.log_sum = np.logaddexp(self.log_sum, np.logaddexp.reduce(log_likelihoods, axis=0))
            self.regions += len(log_likelihoods)

    @property
    def log_mean(self) -> np.ndarray:
        """(M,), of at least one region."""
        mean: np.ndarray = self.log_sum - np.log(self.regions)
        return mean


def search(
    chunk: Chunk, phrases: Sequence[Phrase], engine: TorchEngine, scoring: Scoring
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and regions (P, M) by one scoring that is `searchable`."""
    scorer = RegionScorer(engine, scoring.weights, probes=engine.probes)
    full = chunk.counts > 0
    scores, regions = best_regions(
        scorer,
        chunk.codes,
        phrases,
        photos=np.repeat(np.arange(full.sum()), chunk.counts[full]),
        phrase_free=scorer.phrase_free(chunk.codes, chunk.objectness, chunk.counts),
        end=scoring.end,
    )
    return chunk.in_photos(scores, regions)


def _compare(
    chunk: Chunk,
    phrases: Sequence[Phrase],
    engine: TorchEngine,
    scorings: Sequence[Scoring],
    priors: Sequence[_Prior],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores and regions (P, M) by each scoring; the priors are updated."""
    words, end = engine.words_and_end(chunk.codes, phrases)  # (R, M) each
    terms: dict[Term, Floats] = {}
    if any(own.similarity for own in scorings):
        terms["cosine"] = engine.cosines(chunk.codes, phrases)  # (R, M)
    hubness = None
    if engine.probes is not None and any(own.hubness for own in scorings):
        scorer = RegionScorer(engine, Weights(), probes=engine.probes)
        hubness = scorer.hubness(chunk.codes, chunk.objectness, chunk.counts)
    lengths = np.array([len(phrase.tokens) for phrase in phrases])
    starts = chunk.starts[chunk.counts > 0]
    found = []
    for own, prior in zip(scorings, priors, strict=True):
        values = words + end if own.end else words
        if own.per_word:
            values = values / (lengths + own.end)
        if own.prior:
            prior.add(values)
        values = own.weights.value({**terms, "log_likelihood": values})
        phrase_free = own.weights.phrase_free_terms(chunk.objectness, hubness, chunk.counts)
        values = region_scores(values, 0.0, *phrase_free)
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
