"""RegionScorer: what regions score for phrases, by the formula, with the terms of an engine."""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcsearch.errors import UsageError
from dcsearch.scoring.explanation import Explanation, explain
from dcsearch.scoring.formula import Floats, Term, Terms, Weights, region_scores
from dcsearch.scoring.hubness import Probes, hubness
from dcsearch.scoring.phrase import Phrase
from dcsearch.scoring.prior import log_mean
from dcsearch.vocabulary import Vocabulary

Counts = NDArray[np.integer[Any]]


class Engine(Protocol):
    """Computes the terms of scores with a checkpoint's weights.

    Attributes:
        name, sha256: of the checkpoint.
        vocabulary: of the model.
        embeds: whether the model has a common space of phrases and regions.
        landmarks: (K, E) codes of regions in general; None where the checkpoint has none.
        probes: phrases in general in that space; None where the checkpoint has none.
    """

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def vocabulary(self) -> Vocabulary: ...
    @property
    def embeds(self) -> bool: ...
    @property
    def landmarks(self) -> Floats | None: ...
    @property
    def probes(self) -> Probes | None: ...

    def terms(self, codes: Floats, phrases: Sequence[Phrase], names: Sequence[Term]) -> Terms:
        """The named terms, (N, M) float32 each, of codes (N, E) and M phrases."""

    def word_log_likelihoods(self, codes: Floats, phrase: Phrase) -> Floats:
        """log p of each of a phrase's T words in turn, and of END: (N, T + 1) of codes (N, E)."""

    def vectors(self, codes: Floats) -> Floats:
        """Unit vectors (N, S) of codes (N, E) in the common space, where the model has one."""


EngineT_co = TypeVar("EngineT_co", bound=Engine, covariant=True)


class Prior(NamedTuple):
    """The prior of a phrase: the value of regions in general; 0 without landmarks."""

    value: float = 0.0  # log of the mean of exp(value), which is subtracted from a value
    log_likelihood: float = 0.0  # log p(phrase), whatever the weights are


class RegionScorer(Generic[EngineT_co]):
    """Scores regions by one choice of weights.

    Attributes:
        engine: computes the terms.
        weights: of the terms.
        landmarks: (K, E) codes of regions in general, which give priors; None: priors are 0.
        probes: phrases in general, which give hubness; None: no photo has any.
    """

    def __init__(
        self,
        engine: EngineT_co,
        weights: Weights,
        *,
        landmarks: Floats | None = None,
        probes: Probes | None = None,
    ) -> None:
        """Take an engine and weights.

        Raises:
            UsageError: the weights need an embedding that the model does not have.
        """
        if weights.cosine and not engine.embeds:
            raise UsageError(f"the model {engine.name} has no phrase embedding; train one that has")
        self.engine, self.weights = engine, weights
        self.landmarks, self.probes = landmarks, probes
        self._priors: dict[tuple[int, ...], Prior] = {}  # by tokens

    def terms(self, codes: Floats, phrases: Sequence[Phrase], *also: Term) -> Terms:
        """The terms that the weights ask for, and others: (N, M) each of codes (N, E)."""
        return self.engine.terms(codes, phrases, tuple(dict.fromkeys((*self.weights.terms, *also))))

    def values(self, codes: Floats, phrases: Sequence[Phrase]) -> Floats:
        """Values (N, M) float32, before prior and phrase-free part, of codes (N, E)."""
        return self.weights.value(self.terms(codes, phrases))

    def prior(self, phrase: Phrase) -> Prior:
        """The prior of a phrase; remembered."""
        if phrase.tokens not in self._priors:
            prior = Prior()
            if self.landmarks is not None:
                found = self.terms(self.landmarks, [phrase], "log_likelihood")
                prior = self.prior_of({term: values[:, 0] for term, values in found.items()})
            self._priors[phrase.tokens] = prior
        return self._priors[phrase.tokens]

    def prior_of(self, landmarks: Terms) -> Prior:
        """The prior of a phrase whose terms (K,) for the landmarks are known, the log-likelihood
        among them."""
        return Prior(self.weights.prior(landmarks), log_mean(landmarks["log_likelihood"]))

    def hubness(self, codes: Floats, objectness: Floats, counts: Counts) -> Floats:
        """How well photos answer any phrase; 0 without probes.

        Args:
            codes: (R, E) of their regions, photo by photo.
            objectness: (R,) of the same, 0 to 1.
            counts: (P,) regions of each photo.

        Returns:
            (P,) float32.
        """
        if self.probes is None or not self.engine.embeds:
            return np.zeros(len(counts), dtype=np.float32)
        return hubness(
            self.engine.vectors(codes),
            Weights().objectness_score(objectness),
            np.cumsum(counts) - counts,
            self.probes,
        )

    def phrase_free(self, codes: Floats, objectness: Floats, counts: Counts) -> Floats:
        """The part of the scores of photos' regions that is the same for every phrase: objectness,
        less the photo's hubness.

        Args:
            codes, objectness, counts: as for `hubness`.

        Returns:
            (R,) float32.
        """
        return self.weights.phrase_free(
            objectness, self._hubness(codes, objectness, counts), counts
        )

    def phrase_free_terms(
        self, codes: Floats, objectness: Floats, counts: Counts
    ) -> tuple[Floats, ...]:
        """The terms (R,) of the phrase-free part, to be added one after another."""
        return self.weights.phrase_free_terms(
            objectness, self._hubness(codes, objectness, counts), counts
        )

    def _hubness(self, codes: Floats, objectness: Floats, counts: Counts) -> Floats | None:
        if self.probes is None or not self.weights.hubness:
            return None
        return self.hubness(codes, objectness, counts)

    def scores(
        self, codes: Floats, objectness: Floats, counts: Counts, phrases: Sequence[Phrase]
    ) -> Floats:
        """Scores (R, M) of photos' regions for phrases.

        Args:
            codes, objectness, counts: as for `hubness`.
            phrases: M.
        """
        priors = np.array([self.prior(phrase).value for phrase in phrases], dtype=np.float32)
        phrase_free = self.phrase_free_terms(codes, objectness, counts)
        return region_scores(self.values(codes, phrases), priors, *phrase_free)

    def explain(
        self,
        codes: Floats,
        objectness: Floats,
        phrase: Phrase,
        *,
        hubness: float | None = None,
    ) -> list[Explanation]:
        """Explanations of the scores of regions for a phrase, in their order.

        Args:
            codes: (N, E) of the regions; N may be 0.
            objectness: (N,) of the regions.
            phrase: that they were aligned to.
            hubness: of the photo whose regions they are; None where the model has no probes.

        Raises:
            ValueError: there is no landmark.
        """
        landmarks = codes[:0] if self.landmarks is None else self.landmarks
        others = self.weights.other_terms
        return explain(
            self.weights,
            phrase,
            words=self.engine.word_log_likelihoods(codes, phrase),
            landmark_words=self.engine.word_log_likelihoods(landmarks, phrase),
            terms={t: v[:, 0] for t, v in self.engine.terms(codes, [phrase], others).items()},
            landmark_terms={
                t: v[:, 0] for t, v in self.engine.terms(landmarks, [phrase], others).items()
            },
            objectness=objectness,
            hubness=hubness,
        )
