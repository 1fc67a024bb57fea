"""Similarity: how near a phrase lies to regions in the space that they share, cosines -1 to 1."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dcsearch.device import choose_device
from dcsearch.errors import UsageError
from dcsearch.hubness import hubness
from dcsearch.likelihood import LikelihoodScorer
from dcsearch.model.checkpoint import Checkpoint
from dcsearch.model.language import pad_tokens
from dcsearch.phrase import Phrase
from dcsearch.region_score import objectness_score

_CHUNK = 65536  # regions compared at a time


class SimilarityScorer:
    """Compares phrases and regions by a checkpoint's embedding."""

    def __init__(self, checkpoint: Checkpoint, *, device: str = "auto") -> None:
        """Take the embedding to a device.

        Raises:
            UsageError: the checkpoint has none, or the device is not there.
        """
        if not checkpoint.config.embedding_size:
            raise UsageError(
                f"the model {checkpoint.name} has no phrase embedding; train one that has"
            )
        self.device = choose_device(device)
        self.embedding = checkpoint.model.embedding.to(self.device)

    @torch.inference_mode()
    def cosines(self, codes: np.ndarray, phrases: Sequence[Phrase]) -> np.ndarray:
        """Cosine of every phrase with every region: (N, M) float32 of codes (N, E), M phrases."""
        result = np.empty((len(codes), len(phrases)), dtype=np.float32)
        if not phrases:
            return result
        tokens = pad_tokens([phrase.tokens for phrase in phrases]).to(self.device)
        asked = self.embedding.embed_phrases(tokens)  # (M, S)
        for first in range(0, len(codes), _CHUNK):
            regions = self._regions(codes[first : first + _CHUNK])  # (n, S)
            result[first : first + _CHUNK] = (regions @ asked.T).cpu().numpy()
        return result

    @torch.inference_mode()
    def hubness(self, codes: np.ndarray, objectness: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """How well photos answer whatever is asked, see `dcsearch.hubness`; 0 without probes.

        Args:
            codes: (R, E) of their regions, photo by photo.
            objectness: (R,) of the same.
            counts: (P,) regions of each photo.

        Returns:
            (P,) float32.
        """
        probes, level = self.embedding.probes, self.embedding.level
        if probes is None or level is None:
            return np.zeros(len(counts), dtype=np.float32)
        return hubness(
            self._regions(codes).cpu().numpy(),
            objectness_score(objectness),
            np.cumsum(counts) - counts,
            probes.cpu().numpy(),
            float(level),
        )

    def _regions(self, codes: np.ndarray) -> Tensor:
        """Unit vectors (N, S) of codes (N, E)."""
        rows = torch.from_numpy(codes.astype(np.float32))
        return self.embedding.embed_regions(rows.to(self.device))


def photo_hubness(
    scorer: LikelihoodScorer, codes: np.ndarray, objectness: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """As `SimilarityScorer.hubness`, by any scorer's checkpoint; 0 where it has no embedding."""
    if not scorer.checkpoint.config.embedding_size:
        return np.zeros(len(counts), dtype=np.float32)
    similarity = SimilarityScorer(scorer.checkpoint, device=str(scorer.device))
    return similarity.hubness(codes, objectness, counts)
