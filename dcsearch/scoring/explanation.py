"""Explanation: what each word of a phrase adds to the score of a region."""

from dataclasses import dataclass

import numpy as np

from dcsearch.scoring.formula import Floats, Terms, Weights
from dcsearch.scoring.phrase import Phrase
from dcsearch.scoring.prior import word_priors

END = "<end>"  # no word: punctuation is never part of one


@dataclass(frozen=True, kw_only=True)
class WordEvidence:
    """One word of a phrase, or END, given the words before it; natural logarithms, <= 0."""

    word: str
    log_likelihood: float  # log p(word | words before it, region)
    log_prior: float  # log p(word | words before it), of any region
    weight: float = 1.0  # of the likelihood in the score

    @property
    def evidence(self) -> float:
        """What the word adds to the score; below 0 where the region makes it less likely."""
        return self.weight * (self.log_likelihood - self.log_prior)


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a region has its score for a phrase.

    Attributes:
        phrase: as it was asked; words that the model does not know are not among `words`.
        words: in order, END last; none where the likelihood has no weight.
        similarity: cosine of phrase and region, -1 to 1; None where it has no weight.
        similarity_score: what all terms but the words add, less their part of the prior.
        objectness: of the region, in (0, 1).
        objectness_score: what it adds, <= 0.
        hubness: of the region's photo, how well it answers any phrase; None without probes.
        photo_score: what that adds, below 0 where the hubness is above.
    """

    phrase: str
    words: tuple[WordEvidence, ...]
    objectness: float
    objectness_score: float
    similarity: float | None = None
    similarity_score: float = 0.0
    hubness: float | None = None
    photo_score: float = 0.0

    @property
    def score(self) -> float:
        """The score of the region: the sum of everything above."""
        words = sum(word.evidence for word in self.words)
        return words + self.similarity_score + self.objectness_score + self.photo_score


def explain(
    weights: Weights,
    phrase: Phrase,
    *,
    words: Floats,
    landmark_words: Floats,
    terms: Terms,
    landmark_terms: Terms,
    objectness: Floats,
    hubness: float | None = None,
) -> list[Explanation]:
    """Explanations of the scores of regions for a phrase, in their order.

    Args:
        weights: that they were scored by.
        phrase: of T words that the model knows.
        words: (N, T + 1) log p of each word in turn and of END, of the regions; N may be 0.
        landmark_words: (K, T + 1) the same of landmarks; K is at least 1.
        terms: the other terms (N,) that the weights ask for, of the regions.
        landmark_terms: the same (K,) of the landmarks.
        objectness: (N,) of the regions.
        hubness: of the photo whose regions they are; None where the model has no probes.

    Raises:
        ValueError: there is no landmark.
    """
    priors = word_priors(landmark_words).tolist()
    names = (*phrase.words, END) if weights.log_likelihood else ()
    cosines: list[float | None] = [None] * len(words)
    cosine_scores = np.zeros(len(words))
    if terms:
        whole = weights.prior({"log_likelihood": landmark_words.sum(axis=1), **landmark_terms})
        cosines = terms["cosine"].tolist() if "cosine" in terms else cosines
        cosine_scores = weights.value(terms) - (whole - weights.log_likelihood * sum(priors))
    objectness_scores = weights.objectness_score(objectness)
    return [
        Explanation(
            phrase=phrase.text,
            words=tuple(
                WordEvidence(
                    word=name, log_likelihood=here, log_prior=prior, weight=weights.log_likelihood
                )
                for name, here, prior in zip(names, words[row].tolist(), priors, strict=False)
            ),
            objectness=float(objectness[row]),
            objectness_score=float(objectness_scores[row]),
            similarity=cosines[row],
            similarity_score=float(cosine_scores[row]),
            hubness=hubness,
            photo_score=0.0 if hubness is None else -weights.hubness * hubness,
        )
        for row in range(len(words))
    ]
