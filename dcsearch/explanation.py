"""Explanation: what each word of a phrase adds to the score of a region."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcsearch.phrase import Phrase
from dcsearch.prior import word_priors
from dcsearch.quick_likelihood import QuickLikelihood
from dcsearch.region_score import objectness_score

END = "<end>"  # no word: punctuation is never part of one


@dataclass(frozen=True, kw_only=True)
class WordEvidence:
    """One word of a phrase, or END, given the words before it; natural logarithms, <= 0."""

    word: str
    log_likelihood: float  # log p(word | words before it, region)
    log_prior: float  # log p(word | words before it), of any region

    @property
    def evidence(self) -> float:
        """What the word says for the region, or against it where it is below 0."""
        return self.log_likelihood - self.log_prior


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a region has its score for a phrase.

    Attributes:
        phrase: as it was asked; words that the model does not know are not among `words`.
        words: in order, END last.
        objectness: of the region, in (0, 1).
        objectness_score: what it adds, <= 0.
    """

    phrase: str
    words: tuple[WordEvidence, ...]
    objectness: float
    objectness_score: float

    @property
    def score(self) -> float:
        """The score of the region: the sum of everything above."""
        return sum(word.evidence for word in self.words) + self.objectness_score


def explain(
    quick: QuickLikelihood,
    landmarks: NDArray[np.floating],
    codes: NDArray[np.floating],
    objectness: NDArray[np.floating],
    phrase: Phrase,
) -> list[Explanation]:
    """Explanations of the scores of regions for a phrase, in their order.

    Args:
        quick: the language model.
        landmarks: (K, E), K at least 1; those that the scores were computed with.
        codes: (N, E) of the regions; N may be 0.
        objectness: (N,) of the regions.
        phrase: that they were aligned to.

    Raises:
        ValueError: there is no landmark.
    """
    priors = word_priors(quick.spoken(landmarks, phrase)).tolist()
    words = (*phrase.words, END)
    return [
        Explanation(
            phrase=phrase.text,
            words=tuple(
                WordEvidence(word=word, log_likelihood=here, log_prior=anywhere)
                for word, here, anywhere in zip(words, spoken, priors, strict=True)
            ),
            objectness=thing,
            objectness_score=added,
        )
        for spoken, thing, added in zip(
            quick.spoken(codes, phrase).tolist(),
            objectness.tolist(),
            objectness_score(objectness).tolist(),
            strict=True,
        )
    ]
