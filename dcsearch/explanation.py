"""Explanation: what each word of a phrase adds to the score of a region."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcsearch.hubness import HUBNESS_WEIGHT
from dcsearch.phrase import Phrase
from dcsearch.prior import log_mean, word_priors
from dcsearch.quick_embedding import QuickEmbedding
from dcsearch.quick_likelihood import QuickLikelihood
from dcsearch.region_score import MIXTURES, Mixture, objectness_score

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
        """What the word says for the region, or against it where it is below 0."""
        return self.weight * (self.log_likelihood - self.log_prior)


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a region has its score for a phrase.

    Attributes:
        phrase: as it was asked; words that the model does not know are not among `words`.
        words: in order, END last; none where the likelihood has no say.
        similarity: cosine of phrase and region, -1 to 1; None where it has no say.
        similarity_score: what it adds, seen from regions at large.
        objectness: of the region, in (0, 1).
        objectness_score: what it adds, <= 0.
        hubness: of the region's photo, how well it answers whatever is asked; None where it has no
            say.
        photo_score: what that adds, below 0 where it is above.
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
    quick: QuickLikelihood,
    landmarks: NDArray[np.floating],
    codes: NDArray[np.floating],
    objectness: NDArray[np.floating],
    phrase: Phrase,
    *,
    mixture: Mixture = MIXTURES["likelihood"],
    embedding: QuickEmbedding | None = None,
    hubness: float | None = None,
) -> list[Explanation]:
    """Explanations of the scores of regions for a phrase, in their order.

    Args:
        quick: the language model.
        landmarks: (K, E), K at least 1; those that the scores were computed with.
        codes: (N, E) of the regions; N may be 0.
        objectness: (N,) of the regions.
        phrase: that they were aligned to.
        mixture: that they were scored by.
        embedding: of the phrase and the regions, where similarity has a say.
        hubness: of the photo whose regions they are, where it has a say.

    Raises:
        ValueError: there is no landmark.
    """
    anywhere = quick.spoken(landmarks, phrase)  # (K, T + 1)
    priors = word_priors(anywhere).tolist()
    words = (*phrase.words, END) if mixture.likelihood else ()
    cosines: list[float | None] = [None] * len(codes)
    added = np.zeros(len(codes))
    if mixture.similarity and embedding:
        asked = embedding.phrase(phrase)
        likelihoods = mixture.likelihood * anywhere.sum(axis=1)  # (K,)
        prior = log_mean(likelihoods + mixture.similarity * (embedding.regions(landmarks) @ asked))
        found = embedding.regions(codes) @ asked  # (N,)
        cosines = found.tolist()
        added = mixture.similarity * found - (prior - mixture.likelihood * sum(priors))
    return [
        Explanation(
            phrase=phrase.text,
            words=tuple(
                WordEvidence(
                    word=word, log_likelihood=here, log_prior=prior, weight=mixture.likelihood
                )
                for word, here, prior in zip(words, spoken, priors, strict=False)
            ),
            objectness=thing,
            objectness_score=of_thing,
            similarity=cosine,
            similarity_score=of_cosine,
            hubness=hubness,
            photo_score=0.0 if hubness is None else -HUBNESS_WEIGHT * hubness,
        )
        for spoken, thing, of_thing, cosine, of_cosine in zip(
            quick.spoken(codes, phrase).tolist(),
            objectness.tolist(),
            objectness_score(objectness).tolist(),
            cosines,
            added.tolist(),
            strict=True,
        )
    ]
