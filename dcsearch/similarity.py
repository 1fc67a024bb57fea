"""Similarity: how near a phrase lies to regions in the space that they share, cosines -1 to 1."""

from collections.abc import Sequence

import numpy as np
import torch

from dcsearch.device import choose_device
from dcsearch.errors import UsageError
from dcsearch.model.checkpoint import Checkpoint
from dcsearch.model.language import pad_tokens
from dcsearch.phrase import Phrase

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
            rows = torch.from_numpy(codes[first : first + _CHUNK].astype(np.float32))
            regions = self.embedding.embed_regions(rows.to(self.device))  # (n, S)
            result[first : first + _CHUNK] = (regions @ asked.T).cpu().numpy()
        return result
