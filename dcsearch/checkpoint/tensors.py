"""Tensors: what a weights file holds, by its header, and what is wrong with it."""

from collections import Counter
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from dcsearch.checkpoint.header import CheckpointHeader, damaged
from dcsearch.errors import CheckpointError

# Numbers that are kept beside the parameters: statistics, and regions and phrases in general.
BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "landmarks", "probes", "level")

# The word head of older files, which only training uses: see training/objective.py.
WORD_HEAD = ("words.weight", "words.bias")


class StoredTensor(NamedTuple):
    """A tensor as the file's header has it."""

    shape: tuple[int, ...]
    precision: str  # as safetensors calls it: F16, F32, I64


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a weights file by name; none of them is loaded.

    Raises:
        CheckpointError: the file cannot be read as safetensors.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: StoredTensor(tuple(each.get_shape()), str(each.get_dtype()))
                for name, each in slices.items()
            }
    except (SafetensorError, OSError, ValueError):
        raise damaged(path) from None


def parameters(tensors: dict[str, StoredTensor]) -> int:
    """How many numbers training can change."""
    return sum(
        prod(tensor.shape)
        for name, tensor in tensors.items()
        if name.rpartition(".")[2] not in BUFFERS
    )


def precision(tensors: dict[str, StoredTensor]) -> str:
    """In what most of the numbers are stored, such as "F16"; empty where there are none."""
    counts: Counter[str] = Counter()
    for tensor in tensors.values():
        counts[tensor.precision] += prod(tensor.shape)
    return counts.most_common(1)[0][0] if counts else ""


def word_head_shapes(header: CheckpointHeader) -> dict[str, tuple[int, ...]]:
    """The shapes that an older file's word head has."""
    words = len(header.words)
    shapes = ((words, header.config.language.encoded_size), (words,))
    return dict(zip(WORD_HEAD, shapes, strict=True))


def shape_problems(header: CheckpointHeader) -> list[str]:
    """A sentence for every tensor that the header's network lacks, or has in another shape.

    Raises:
        CheckpointError: there is no network of that config, or the file cannot be read.
    """
    import torch

    from dcsearch.model.network import make_network

    try:
        with torch.device("meta"):  # shapes alone
            network = make_network(header.config, words=len(header.words))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError):
        raise damaged(header.path) from None
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tensor.shape for name, tensor in stored_tensors(header.path).items()}
    if any(name in found for name in WORD_HEAD):
        wanted |= word_head_shapes(header)

    def sentences() -> Iterator[str]:
        for name in sorted({*wanted, *found}):
            if name not in found:
                yield f"{name} is missing"
            elif name not in wanted:
                yield f"{name} belongs to no part of the network"
            elif found[name] != wanted[name]:
                yield f"{name} is {_shape(found[name])}, not {_shape(wanted[name])}"

    return list(sentences())


def value_problems(path: Path) -> list[str]:
    """A sentence for every tensor with numbers that are not finite; one is loaded at a time.

    Raises:
        CheckpointError: the file cannot be read as safetensors.
    """
    import torch

    problems = []
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                bad = int((~torch.isfinite(file.get_tensor(name))).sum())
                if bad:
                    numbers = "number that is" if bad == 1 else "numbers that are"
                    problems.append(f"{name} has {bad:,} {numbers} not finite")
    except (SafetensorError, OSError, ValueError):
        raise damaged(path) from None
    return problems


def require_sound(header: CheckpointHeader) -> None:
    """Make sure that a file has the tensors of its network, with finite numbers.

    Raises:
        CheckpointError: it has not.
    """
    problems = shape_problems(header) or value_problems(header.path)
    if problems:
        more = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
        raise CheckpointError(
            f"{header.path} cannot be used: {problems[0]}{more}; get the file again"
        )


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
