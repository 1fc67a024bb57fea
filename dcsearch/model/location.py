"""Location LSTM: where a region's box belongs, going by the words of its caption.

Joint inference of Yang et al. ("Dense Captioning with Joint Inference and Visual Context", CVPR
2017): a second LSTM reads the region and the words, and its last state gives the box.
"""

from typing import cast

import torch
from torch import Tensor, nn

from dcsearch.model.language import PADDING, State, advance


class LocationLSTM(nn.Module):
    """Reads the encoded region code, then the words, as the language model does; then offsets."""

    def __init__(self, *, encoded_size: int, hidden: int, dropout: float) -> None:
        """Make the LSTM.

        Args:
            encoded_size: E, of the encoded codes and of the word embeddings.
            hidden: H.
            dropout: on the word embeddings and on the last state, in training.
        """
        super().__init__()
        self.input_gates = nn.Linear(encoded_size, 4 * hidden)  # input, forget, cell, output
        self.hidden_gates = nn.Linear(hidden, 4 * hidden, bias=False)
        self.offsets = nn.Linear(hidden, 4)
        self.dropout = nn.Dropout(dropout)
        self._set_beginning()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.input_gates, self.hidden_gates, self.offsets):
            layer.reset_parameters()
        self._set_beginning()

    def _set_beginning(self) -> None:
        hidden = self.hidden_gates.in_features
        with torch.no_grad():
            self.input_gates.bias.zero_()
            self.input_gates.bias[hidden : 2 * hidden] = 1.0  # remember at first
        nn.init.zeros_(self.offsets.weight)  # the box begins where it is
        nn.init.zeros_(self.offsets.bias)

    def forward(self, encoded: Tensor, tokens: Tensor, words: nn.Embedding) -> Tensor:
        """Offsets of boxes by the words of their captions.

        Args:
            encoded: (N, E) encoded region codes.
            tokens: (N, T) int64, PADDING behind the words.
            words: embeddings of E numbers, the language model's.

        Returns:
            (N, 4), to be applied to the regions' boxes.
        """
        empty = encoded.new_zeros(len(encoded), self.hidden_gates.in_features)
        state = self._advance(encoded, State(empty, empty))
        for column in tokens.T:
            after = self._advance(self.dropout(words(column.clamp(min=0))), state)
            said = (column != PADDING)[:, None]  # the others have come to their end
            state = State(*(torch.where(said, a, b) for a, b in zip(after, state, strict=True)))
        return cast(Tensor, self.offsets(self.dropout(state.hidden))).float()

    def _advance(self, read: Tensor, state: State) -> State:
        gates = (self.input_gates(read) + self.hidden_gates(state.hidden)).float()  # (N, 4H)
        return advance(gates, state.cell)
