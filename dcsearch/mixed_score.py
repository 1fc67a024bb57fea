"""MixedScorer: what regions are scored by for phrases: likelihood, similarity, or both."""

from collections.abc import Sequence

import numpy as np

from dcsearch.likelihood import LikelihoodScorer
from dcsearch.model.checkpoint import Checkpoint
from dcsearch.phrase import Phrase
from dcsearch.prior import log_mean
from dcsearch.region_score import MIXTURES, Score, default_score
from dcsearch.similarity import SimilarityScorer, photo_hubness


class MixedScorer(LikelihoodScorer):
    """A LikelihoodScorer that also mixes.

    Attributes:
        score: which mixture it is.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        score: Score | None = None,
        *,
        device: str = "auto",
        bfloat16: bool = False,
    ) -> None:
        """Take the language model and, where it has a say, the embedding to a device.

        Args:
            checkpoint: of the model.
            score: see `dcsearch.region_score`; None is the model's default.
            device: "auto", "cpu" or "cuda".
            bfloat16: as for a LikelihoodScorer.

        Raises:
            UsageError: the device is not there, or the model has no embedding.
        """
        super().__init__(checkpoint, device=device, bfloat16=bfloat16)
        self.score = score or default_score(checkpoint.config.embedding_size)
        self._mixture = MIXTURES[self.score]
        self._similarity = (
            SimilarityScorer(checkpoint, device=device) if self._mixture.similarity else None
        )
        self._priors: dict[tuple[int, ...], tuple[float, float]] = {}  # by tokens

    def values(self, codes: np.ndarray, phrases: Sequence[Phrase]) -> np.ndarray:
        """What the score is made of: (N, M) float32 of codes (N, E) and M phrases."""
        if not self._mixture.likelihood:
            return self._similarities(codes, phrases)
        return self._mixed(codes, phrases, self.log_likelihoods(codes, phrases))

    def read(self, codes: np.ndarray, phrase: Phrase) -> tuple[np.ndarray, np.ndarray]:
        """`values` of one phrase, and its log-likelihoods, each (N,) float32."""
        log_likelihoods = self.log_likelihoods(codes, [phrase])
        return self._mixed(codes, [phrase], log_likelihoods)[:, 0], log_likelihoods[:, 0]

    def priors(self, phrase: Phrase) -> tuple[float, float]:
        """Logarithm of the mean of exp(value), and of p(phrase | region), of regions at large, the
        checkpoint's landmarks; 0 where it has none. Remembered, for the next photo."""
        if phrase.tokens not in self._priors:
            landmarks = self.checkpoint.model.language.landmarks
            prior = log_prior = 0.0
            if landmarks is not None:
                prior, log_prior = map(log_mean, self.read(landmarks.cpu().numpy(), phrase))
            self._priors[phrase.tokens] = prior, log_prior
        return self._priors[phrase.tokens]

    def hubness(self, codes: np.ndarray, objectness: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """How well photos answer whatever is asked, whichever mixture: see `photo_hubness`."""
        return photo_hubness(self, codes, objectness, counts)

    def best_values(
        self, codes: np.ndarray, phrases: Sequence[Phrase], *, photos: np.ndarray, bias: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best region of every photo for every phrase, by value + bias; see `best_regions`.

        Args:
            codes: (N, E), photo by photo.
            phrases: M.
            photos: (N,) int, 0 to P - 1 in order; the photo of each region.
            bias: (N,), of each region.

        Returns:
            Values (P, M) float32 and indices of regions (P, M) int64; -inf and -1 for a photo
            without regions.
        """
        added = self._similarities(codes, phrases) + bias[:, None]
        weight = self._mixture.likelihood
        if weight:
            scores, regions = self.best_regions(codes, phrases, photos=photos, bias=added / weight)
            return weight * scores, regions
        shape = (int(photos[-1]) + 1 if len(photos) else 0, len(phrases))
        values, regions = np.full(shape, -np.inf, dtype=np.float32), np.full(shape, -1)
        starts = np.flatnonzero(np.diff(photos, prepend=-1))
        for start, part in zip(starts, np.split(added, starts[1:]), strict=False):
            values[photos[start]] = part.max(axis=0)
            regions[photos[start]] = start + part.argmax(axis=0)
        return values, regions

    def _mixed(
        self, codes: np.ndarray, phrases: Sequence[Phrase], log_likelihoods: np.ndarray
    ) -> np.ndarray:
        mixed: np.ndarray = self._similarities(codes, phrases)
        mixed += self._mixture.likelihood * log_likelihoods
        return mixed

    def _similarities(self, codes: np.ndarray, phrases: Sequence[Phrase]) -> np.ndarray:
        if self._similarity is None:
            return np.zeros((len(codes), len(phrases)), dtype=np.float32)
        return self._mixture.similarity * self._similarity.cosines(codes, phrases)
