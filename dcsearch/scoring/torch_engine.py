"""TorchEngine: the terms of scores with torch, for many regions at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.device import choose_device
from dcsearch.errors import UsageError
from dcsearch.model.embedding import PhraseEmbedding
from dcsearch.model.language import State, advance, pad_tokens
from dcsearch.scoring.formula import SCORES, Score, Term, Terms, default_score
from dcsearch.scoring.hubness import Probes
from dcsearch.scoring.phrase import Phrase
from dcsearch.scoring.prefix_tree import PrefixTree, prefix_tree
from dcsearch.scoring.scorer import RegionScorer

CHUNK = 4096  # regions computed at a time in a thread
_COMPARED = 65536  # regions whose cosines are computed at a time
_ALONE = 512  # regions that are worth a thread
_ROWS = 512  # of them in one softmax, so that its logits stay in the processor's cache
_FREQUENT = 256  # words, which come first in a vocabulary, that bound a softmax's normaliser
_ROOM = 0.05  # of that bound, for the rounding of bfloat16


class TorchEngine:
    """Computes the terms of scores with a checkpoint's network; see `scorer.Engine`."""

    def __init__(
        self, checkpoint: Checkpoint, *, device: str = "auto", bfloat16: bool = False
    ) -> None:
        """Take the language model, and the embedding where there is one, to a device.

        Args:
            checkpoint: its language model and embedding move to the device.
            device: "auto", "cpu" or "cuda".
            bfloat16: sum the softmax over the vocabulary in bfloat16, about twice as fast where
                the processor has it; the words' own logits stay in float32.

        Raises:
            UsageError: the device is not there.
        """
        self.checkpoint = checkpoint
        self.name, self.sha256 = checkpoint.name, checkpoint.sha256
        self.vocabulary = checkpoint.vocabulary
        self.embeds = bool(checkpoint.config.embedding.embedding_size)
        self.device = choose_device(device)
        self.language = checkpoint.model.language.to(self.device)
        output = self.language.output
        dtype = torch.bfloat16 if bfloat16 else torch.float32
        self._weight = output.weight.detach().T.to(dtype).contiguous()  # (H, V + 1)
        self._bias = output.bias.detach().to(dtype)
        self._hidden_gates = self.language.hidden_gates.weight.detach().T.to(dtype)  # (H, 4H)
        frequent = torch.arange(-1, min(_FREQUENT, self.language.end))  # END and words
        self._frequent_weight = self._weight[:, frequent].contiguous()  # (H, F)
        self._frequent_bias = self._bias[frequent]
        # A hidden state lies in (-1, 1), so no logit exceeds this. exp overflows from 88 on; a
        # greater bound is brought down to 80, as long as that leaves room for all that count.
        bound = float((output.weight.detach().abs().sum(dim=1) + output.bias.detach().abs()).max())
        self._excess = max(0.0, bound - 80) if bound < 120 else None
        self._pool: ThreadPoolExecutor | None = None

    @property
    def landmarks(self) -> np.ndarray | None:
        """Codes of regions in general (K, E)."""
        landmarks = self.language.landmarks
        return None if landmarks is None else landmarks.cpu().numpy()

    @property
    def probes(self) -> Probes | None:
        """Phrases in general."""
        if not self.embeds:
            return None
        embedding = self.checkpoint.model.embedding
        if embedding.probes is None or embedding.level is None:
            return None
        return Probes(embedding.probes.cpu().numpy(), float(embedding.level))

    def terms(self, codes: np.ndarray, phrases: Sequence[Phrase], names: Sequence[Term]) -> Terms:
        """The named terms, (N, M) float32 each, of codes (N, E) and M phrases.

        Raises:
            UsageError: the cosine is among them, and the model has no embedding.
        """
        compute = {"log_likelihood": self.log_likelihoods, "cosine": self.cosines}
        return {name: compute[name](codes, phrases) for name in names}

    @torch.inference_mode()
    def word_log_likelihoods(self, codes: np.ndarray, phrase: Phrase) -> np.ndarray:
        """log p of each of a phrase's T words in turn, and of END: (N, T + 1) of codes (N, E)."""
        state, columns = self.language.begin(self.codes(codes)), []
        for token in phrase.tokens:
            columns.append(self.next_word(state.hidden, [token]))
            state = self.language.step(state, torch.tensor([token], device=self.device))
        columns.append(self.next_word(state.hidden, [self.language.end]))
        words: np.ndarray = torch.cat(columns, dim=1).cpu().numpy()
        return words

    @torch.inference_mode()
    def cosines(self, codes: np.ndarray, phrases: Sequence[Phrase]) -> np.ndarray:
        """Cosine of every phrase with every region: (N, M) float32 of codes (N, E), M phrases.

        Raises:
            UsageError: the model has no embedding.
        """
        embedding = self._embedding()
        result = np.empty((len(codes), len(phrases)), dtype=np.float32)
        if not phrases:
            return result
        tokens = pad_tokens([phrase.tokens for phrase in phrases]).to(self.device)
        asked = embedding.embed_phrases(tokens)  # (M, S)
        for first in range(0, len(codes), _COMPARED):
            part = slice(first, first + _COMPARED)
            regions = embedding.embed_regions(self.codes(codes[part]))  # (n, S)
            result[part] = (regions @ asked.T).cpu().numpy()
        return result

    @torch.inference_mode()
    def vectors(self, codes: np.ndarray) -> np.ndarray:
        """Unit vectors (N, S) of codes (N, E) in the space of phrases and regions.

        Raises:
            UsageError: the model has no embedding.
        """
        vectors: np.ndarray = self._embedding().embed_regions(self.codes(codes)).cpu().numpy()
        return vectors

    def _embedding(self) -> PhraseEmbedding:
        if not self.embeds:
            raise UsageError(f"the model {self.name} has no phrase embedding; train one that has")
        return self.checkpoint.model.embedding.to(self.device)

    def codes(self, codes: np.ndarray) -> Tensor:
        """Stored codes (N, E) as the language model reads them."""
        return torch.from_numpy(np.array(codes, dtype=np.float32)).to(self.device)

    def log_likelihood(self, codes: np.ndarray, phrase: Phrase) -> np.ndarray:
        """log p(phrase | region) of each region: (N,) float32, each <= 0, of codes (N, E)."""
        return self.log_likelihoods(codes, [phrase])[:, 0]

    def log_likelihoods(self, codes: np.ndarray, phrases: Sequence[Phrase]) -> np.ndarray:
        """log p(phrase | region) of every phrase for every region.

        Phrases that begin alike share the work of their beginning.

        Args:
            codes: (N, E); N may be 0.
            phrases: M.

        Returns:
            (N, M) float32, each <= 0.
        """
        words, end = self.words_and_end(codes, phrases)
        words += end
        return words

    def words_and_end(
        self, codes: np.ndarray, phrases: Sequence[Phrase]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The two parts of `log_likelihoods`: of the words, and of END after them.

        Returns:
            (N, M) float32 twice, each <= 0.
        """
        root = prefix_tree(phrases)
        result = torch.zeros(2, len(codes), len(phrases))

        def fill(part: slice) -> None:
            for first in range(part.start, part.stop, CHUNK):
                some = slice(first, min(first + CHUNK, part.stop))
                encoded = self.codes(codes[some])
                state = self.language.begin(encoded)
                self._descend(root, state, encoded.new_zeros(len(encoded)), result[:, some])

        self.share(fill, len(codes), regions=len(codes))
        words, end = result.numpy()
        return words, end

    @torch.inference_mode()
    def share(self, fill: Callable[[slice], None], count: int, *, regions: int) -> None:
        """Do some work in parts, on a CPU all at once, each in a thread of its own: most operations
        are too small to be shared by threads."""
        threads = min(torch.get_num_threads(), count, regions // _ALONE)
        if threads < 2 or self.device.type != "cpu":
            fill(slice(0, count))
            return

        @torch.inference_mode()
        def alone(part: slice) -> None:
            torch.set_num_threads(1)
            fill(part)

        before = torch.get_num_threads()
        edges = np.linspace(0, count, threads + 1).astype(int).tolist()
        if self._pool is None:  # is kept, because new threads would take new memory
            self._pool = ThreadPoolExecutor(before)
        try:
            list(self._pool.map(alone, [slice(*pair) for pair in pairwise(edges)]))
        finally:
            torch.set_num_threads(before)

    def recall(self, hidden: Tensor) -> Tensor:
        """The part (n, 4H) of hidden states (n, H) in the gates, whichever word follows."""
        return (hidden.to(self._hidden_gates.dtype) @ self._hidden_gates).float()

    def follow(self, recalled: Tensor, cell: Tensor, word: int) -> State:
        """The language model's states after one more word.

        Args:
            recalled: (n, 4H), from `recall`; overwritten.
            cell: (n, H).
            word: its token.
        """
        token = torch.tensor([word], device=self.device)
        recalled += self.language.input_gates(self.language.embedding(token))
        return advance(recalled, cell)

    def next_word(self, hidden: Tensor, words: Sequence[int]) -> Tensor:
        """log p of each of some words, or END, to come next: (n, W) of hidden states (n, H)."""
        index = torch.tensor(list(words), device=hidden.device)
        output = self.language.output
        logits = hidden @ output.weight[index].T + output.bias[index]  # (n, W)
        totals = [
            self._normaliser(rows, self._weight, self._bias) for rows in torch.split(hidden, _ROWS)
        ]
        return (logits - torch.cat(totals)[:, None]).clamp(max=0)  # rounding may exceed 0

    def next_word_bound(self, hidden: Tensor, words: Sequence[int]) -> Tensor:
        """What the log p of none of some words exceeds: (n,) of hidden states (n, H).

        Some terms of the normaliser are less than all of them, and a tenth of the work.
        """
        output = self.language.output
        index = torch.tensor(list(words), device=hidden.device)
        logits = hidden @ output.weight[index].T + output.bias[index]  # (n, W)
        some = self._normaliser(hidden, self._frequent_weight, self._frequent_bias)
        return (logits.amax(dim=1) - some + _ROOM).clamp(max=0)

    def _normaliser(self, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Logarithm (n,) of the sum of exp(logit) of some words, of weights (H, W)."""
        logits = torch.addmm(bias, hidden.to(weight.dtype), weight).float()
        if self._excess is None:
            return logits.logsumexp(dim=1)
        if self._excess:
            logits -= self._excess
        # Half the time of logsumexp, which computes the maximum first.
        return logits.exp_().sum(dim=1).log_().add_(self._excess)

    def _descend(self, node: PrefixTree, state: State, so_far: Tensor, result: Tensor) -> None:
        """Fill the columns of the phrases that pass through a node, depth first."""
        words = list(node.children)
        following = self.next_word(state.hidden, [*words, self.language.end])  # (n, W + 1)
        for phrase in node.ends:
            result[0, :, phrase] = so_far.cpu()
            result[1, :, phrase] = following[:, -1].cpu()
        for column, word in enumerate(words):
            after = self.language.step(state, torch.tensor([word], device=self.device))
            self._descend(node.children[word], after, so_far + following[:, column], result)


def torch_scorer(
    checkpoint: Checkpoint,
    score: Score | None = None,
    *,
    device: str = "auto",
    bfloat16: bool = False,
) -> RegionScorer[TorchEngine]:
    """A scorer with a checkpoint's own landmarks and probes.

    Args:
        checkpoint: see `TorchEngine`.
        score: one of `formula.SCORES`; None is the model's default.
        device, bfloat16: see `TorchEngine`.

    Raises:
        UsageError: the device is not there, or the score needs an embedding that the model lacks.
    """
    engine = TorchEngine(checkpoint, device=device, bfloat16=bfloat16)
    weights = SCORES[score or default_score(checkpoint.config.embedding.embedding_size)]
    return RegionScorer(engine, weights, landmarks=engine.landmarks, probes=engine.probes)
