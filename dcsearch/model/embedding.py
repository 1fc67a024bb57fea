"""Phrases and regions in one space: a second score, quicker than the likelihood.

Not in the paper. A likelihood needs the LSTM for every region; here a phrase is read once, and a
region's fit is an inner product.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from dcsearch.model.language import PADDING


class PhraseEmbedding(nn.Module):
    """A GRU that reads phrases, a projection of encoded region codes, and their temperature."""

    probes: Tensor | None  # (K, S) unit vectors of phrases in general
    level: Tensor | None  # () how well an ordinary photo answers them

    def __init__(
        self, *, words: int, encoded_size: int, size: int, dropout: float, probes: int = 0
    ) -> None:
        """Make the encoder.

        Args:
            words: V, UNKNOWN included.
            encoded_size: E, of the encoded region codes.
            size: S, of the common space.
            dropout: on the word embeddings, in training.
            probes: K, phrases kept beside the weights for dcsearch/scoring/hubness.py; 0 is none.
        """
        super().__init__()
        self.words = nn.Embedding(words, encoded_size)
        nn.init.normal_(self.words.weight, std=0.1)
        self.reader = nn.GRU(encoded_size, encoded_size, batch_first=True)
        self.phrase = nn.Linear(encoded_size, size, bias=False)
        self.region = nn.Linear(encoded_size, size, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))  # 1 / temperature
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("probes", torch.zeros(probes, size) if probes else None)
        self.register_buffer("level", torch.zeros(()) if probes else None)

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by, 1 to 50."""
        return self.log_scale.clamp(0.0, math.log(50.0)).exp()

    def embed_phrases(self, tokens: Tensor) -> Tensor:
        """Unit vectors (M, S) of phrases (M, T) int64, PADDING behind the words, T >= 1."""
        lengths = (tokens != PADDING).sum(dim=1)  # (M,)
        vectors = self.dropout(self.words(tokens.clamp(min=0)))  # (M, T, E)
        read, _ = self.reader(vectors)  # (M, T, E); what follows the last word is masked
        is_word = (tokens != PADDING)[:, :, None]
        largest = read.masked_fill(~is_word, -torch.inf).amax(dim=1)  # (M, E)
        largest = largest.masked_fill((lengths == 0)[:, None], 0.0)
        return functional.normalize(self.phrase(largest).float(), dim=1)

    def embed_regions(self, encoded: Tensor) -> Tensor:
        """Unit vectors (N, S) of encoded region codes (N, E)."""
        return functional.normalize(self.region(encoded).float(), dim=1)
