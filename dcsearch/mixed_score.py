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

    def values(self, codes: np.ndarray, phrases: Sequence[Phrase]) -> np.ndarray:
        """What the score is made of: (N, M) float32 of codes (N, E) and M phrases."""
        values = self._similarities(codes, phrases)
        if self._mixture.likelihood:
            values += self._mixture.likelihood * self.log_likelihoods(codes, phrases)
        return values

    def prior(self, phrase: Phrase) -> float:
        """Logarithm of the mean of exp(value) of regions at large; see `log_prior`."""
        landmarks = self.checkpoint.model.language.landmarks
        if landmarks is None:
            return 0.0
        return log_mean(self.values(landmarks.cpu().numpy(), [phrase])[:, 0])

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

    def _similarities(self, codes: np.ndarray, phrases: Sequence[Phrase]) -> np.ndarray:
        if self._similarity is None:
            return np.zeros((len(codes), len(phrases)), dtype=np.float32)
        return self._mixture.similarity * self._similarity.cosines(codes, phrases)
