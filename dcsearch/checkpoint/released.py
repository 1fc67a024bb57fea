"""The network that DenseCap's authors released, from their Torch7 file into a checkpoint of ours.

The file is mapped, and its tensors go from there into the checkpoint a few megabytes at a time, so
the import needs little memory whatever the file's size. What the file has besides the weights
(gradients, the graph of modules, buffers) is passed over. The weights are found by the names of
fields, not of classes, which differ with the library that the file was trained with.
"""

import json
import math
import mmap
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dcsearch.checkpoint.header import write_header
from dcsearch.checkpoint.torch7 import Array, Table, Value, read_torch7
from dcsearch.errors import CheckpointError, UsageError
from dcsearch.model import presets
from dcsearch.model.config import FCLNConfig
from dcsearch.model.fcln import FCLN
from dcsearch.model.vgg16 import VGG16Backbone
from dcsearch.vocabulary import UNKNOWN, Vocabulary

# Where the authors' DenseCapModel keeps each layer, below its `nets`; a number counts `modules`.
_LAYERS = {
    **{f"backbone.features.{index - 1}": f"conv_net1.{index}" for index in (1, 3, 6, 8)},
    **{
        f"backbone.features.{index + 9}": f"conv_net2.{index}"
        for index in (1, 3, 5, 8, 10, 12, 15, 17, 19)
    },
    "localization.convolution": "localization_layer.nets.rpn.1",
    "localization.offsets": "localization_layer.nets.rpn.3.1.1",
    "localization.objectness": "localization_layer.nets.rpn.3.2.1",
    "recognition.fc6": "recog_base.2",
    "recognition.fc7": "recog_base.5",
    "recognition.objectness": "objectness_branch",
    "recognition.offsets": "box_reg_branch",
    "language.encoder": "language_model.image_encoder.1",
    "language.output": "language_model.rnn.3",
}
_EMBEDDING = "language_model.lookup_table"
_LSTM = "language_model.rnn.1"
_ANCHORS = "localization_layer.nets.rpn.3.1.3.1.1"
_GATES = [0, 1, 3, 2]  # torch-rnn's input, forget, output, cell as input, forget, cell, output
_STORED = {torch.float16: ("F16", "<f2"), torch.float32: ("F32", "<f4")}
_BLOCK = 8 << 20  # bytes of the file that are read at a time


@dataclass(frozen=True, kw_only=True)
class _Weight:
    """A tensor of the file, and which of its rows are ours, in our order."""

    view: Array
    rows: Array  # (n,) int, a permutation


@dataclass(frozen=True, kw_only=True)
class _Network:
    """What the file holds, as we call it."""

    weights: dict[str, _Weight]
    words: tuple[str, ...]
    config: FCLNConfig
    training: dict[str, float]


def import_released(
    source: Path,
    target: Path,
    *,
    name: str,
    dtype: torch.dtype,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a checkpoint of the network in the authors' file, replacing an older file only once
    the new one is whole.

    Sizes, anchors and words are the file's; all else is `presets.reference()`. The words keep
    their order behind UNKNOWN, which comes first. The provenance has the file's record of its
    training.

    Args:
        source: densecap-pretrained-vgg16.t7, or another file that the authors' train.lua wrote.
        target: of the checkpoint; its folder is there.
        name: of the checkpoint.
        dtype: of the weights in the checkpoint, torch.float16 or torch.float32.
        on_progress: called with the bytes of weights written so far, and of all.

    Raises:
        CheckpointError: no such file, damaged, or not such a network.
        UsageError: the target cannot be written.
        ValueError: another dtype.
    """
    if dtype not in _STORED:
        raise ValueError(f"dtype must be torch.float16 or torch.float32, got {dtype}")
    if not source.is_file():
        raise CheckpointError(f"no file at {source}; name densecap-pretrained-vgg16.t7, unpacked")
    try:
        with source.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        network = _network(read_torch7(content), most=len(content))
        header = write_header(
            name=name,
            config=network.config,
            words=network.words,
            provenance={"imported_from": source.name, **network.training},
        )
        weights = network.weights
        _write(target, weights, header, dtype, content, on_progress or (lambda done, of: None))
    except ValueError as error:  # from here or the reader, the config, the vocabulary
        raise CheckpointError(
            f"{source} is not the authors' network or damaged ({error!s:.200}); "
            "name their densecap-pretrained-vgg16.t7, unpacked"
        ) from None
    except OSError as error:
        raise UsageError(
            f"{source} cannot become {target} ({error.strerror}); choose files that can be read "
            "and written"
        ) from None


def _network(checkpoint: Value, *, most: int) -> _Network:
    """What the file holds, checked.

    Args:
        checkpoint: the file's value.
        most: bytes of all weights; views of a few numbers could be of any size.

    Raises:
        ValueError: something is not there, or not of the shape that the rest asks for.
    """
    nets = _at(checkpoint, "model.nets")
    words, order = _words(_at(nets, "language_model"))
    weights = {}
    for ours, theirs in _LAYERS.items():
        for part in ("weight", "bias"):
            view = _array(nets, f"{theirs}.{part}")
            weights[f"{ours}.{part}"] = _Weight(view=view, rows=np.arange(len(view)))
    for ours in ("language.output.weight", "language.output.bias"):
        weights[ours] = _Weight(view=weights[ours].view, rows=order[:-1])
    weights["language.embedding.weight"] = _Weight(
        view=_array(nets, f"{_EMBEDDING}.weight"), rows=order
    )
    weight, bias = _array(nets, f"{_LSTM}.weight"), _array(nets, f"{_LSTM}.bias")
    hidden, encoded = len(bias) // 4, len(weights["language.encoder.bias"].view)
    gates = np.arange(4 * hidden).reshape(4, hidden)[_GATES].reshape(-1)
    weights["language.input_gates.weight"] = _Weight(view=weight[:encoded].T, rows=gates)
    weights["language.input_gates.bias"] = _Weight(view=bias, rows=gates)
    weights["language.hidden_gates.weight"] = _Weight(view=weight[encoded:].T, rows=gates)

    if sum(each.view.nbytes for each in weights.values()) > most:
        raise ValueError("its weights are more than the file")
    longest = _number(_at(nets, "language_model.seq_length"), "seq_length")
    fc6 = weights["recognition.fc6.weight"].view
    config = presets.reference().replace(
        anchor_shapes=_anchor_shapes(_at(nets, _ANCHORS)),
        proposal_hidden=len(weights["localization.convolution.bias"].view),
        grid=math.isqrt(fc6.size // len(fc6) // VGG16Backbone.channels),
        recognition_hidden=len(fc6),
        code_size=len(weights["recognition.fc7.bias"].view),
        encoded_size=encoded,
        language_hidden=hidden,
        longest_caption=int(longest),
    )
    return _Network(
        weights=_fitting(weights, config, len(words)),
        words=words,
        config=config,
        training=_training(checkpoint),
    )


def _fitting(weights: dict[str, _Weight], config: FCLNConfig, words: int) -> dict[str, _Weight]:
    """The weights, each with exactly the shape that it has in the network."""
    with torch.device("meta"):  # no memory
        shapes = {k: tuple(v.shape) for k, v in FCLN(config, words=words).state_dict().items()}
    fitting = {}
    for key, shape in shapes.items():
        view, rows = weights[key].view, weights[key].rows
        if view.ndim == 2 and view.size == math.prod(shape):
            view = view.reshape(shape)  # SpatialConvolutionMM keeps its filters flat
        if view.shape != shape or len(rows) != len(view):
            raise ValueError(f"its {key} is {view.shape}, where {shape} fits the rest")
        fitting[key] = _Weight(view=view, rows=rows)
    assert fitting.keys() == weights.keys()
    return fitting


def _words(language: Value) -> tuple[tuple[str, ...], Array]:
    """The words with UNKNOWN first, and the (V + 2,) rows of the file in their order: words, START
    and END, NULL."""
    table = _at(language, "idx_to_token")
    count = int(_number(_at(language, "vocab_size"), "vocab_size"))
    every = (_get(table, index + 1) for index in range(count))
    words = [word for word in every if isinstance(word, str)]
    if len(words) != count:
        raise ValueError(f"its idx_to_token has not {count:,} words")
    if "<UNK>" not in words:
        raise ValueError("its idx_to_token has no <UNK>")
    unknown = words.index("<UNK>")
    order = np.arange(count + 2)
    order[: unknown + 1] = [unknown, *range(unknown)]
    ours = Vocabulary((UNKNOWN, *words[:unknown], *words[unknown + 1 :]))
    return ours.words, order


def _anchor_shapes(module: Value) -> tuple[tuple[float, float], ...]:
    """Width and height of the anchors; their centres must be where our backbone's cells are."""
    centre = VGG16Backbone.centre + 0.5  # Lua's first pixel is 1, and its middle too
    for field, expected in {"x0": centre, "y0": centre, "sx": 16, "sy": 16}.items():
        found = _number(_at(module, field), field)
        if found != expected:
            raise ValueError(f"its anchors have {field} = {found}, not {expected}")
    anchors = _array(module, "anchors")
    if anchors.shape[:-1] != (2,):
        raise ValueError(f"its anchors are {anchors.shape}, not widths and heights")
    return tuple((float(width), float(height)) for width, height in anchors.T)


def _training(checkpoint: Value) -> dict[str, float]:
    """How long the network was trained, and its mean average precision in validation then; less
    where the file has been stripped."""
    found = {}
    results = ("results_history", _get(checkpoint, "iter"), "ap_results")
    for name, path in {
        "iterations": ("iter",),
        "validation_map": (*results, "map"),
        "validation_detection_map": (*results, "detmap"),
    }.items():
        value = checkpoint
        for key in path:
            value = _get(value, key)
        if isinstance(value, float) and math.isfinite(value):
            found[name] = int(value) if value.is_integer() else value
    return found


def _get(table: Value, key: Value) -> Value:
    """What a table has under a key, or None; a whole number may be spelled as text."""
    if not isinstance(table, Table) or not isinstance(key, str | int | float):
        return None
    if key in table or isinstance(key, str) or not float(key).is_integer():
        return table.get(key)
    return table.get(str(int(key)))


def _at(value: Value, path: str) -> Value:
    """What stands under a path of keys; a number counts `modules`."""
    for key in path.split("."):
        value = _get(_get(value, "modules"), int(key)) if key.isdecimal() else _get(value, key)
    if value is None:
        raise ValueError(f"it has no {path}")
    return value


def _array(value: Value, path: str) -> Array:
    """The tensor of numbers under a path, not empty."""
    array = _at(value, path)
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or not array.size:
        raise ValueError(f"its {path} is no tensor of numbers")
    return array


def _number(value: Value, name: str) -> float:
    if not isinstance(value, float) or not 0 < value < 1e6:
        raise ValueError(f"its {name} is no number that can be")
    return value


def _write(
    target: Path,
    weights: dict[str, _Weight],
    metadata: dict[str, str],
    dtype: torch.dtype,
    content: mmap.mmap,
    on_progress: Callable[[int, int], None],
) -> None:
    """The checkpoint file, in the safetensors format: header's length, header, tensors."""
    theirs, ours = _STORED[dtype]
    header: dict[str, Any] = {"__metadata__": metadata}
    total = done = 0
    for key, weight in weights.items():
        size = weight.view.size * np.dtype(ours).itemsize
        header[key] = {
            "dtype": theirs, "shape": weight.view.shape, "data_offsets": (total, total + size),
        }  # fmt: skip
        total += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    part = target.with_name(target.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for key, weight in weights.items():
                rows = max(1, _BLOCK * len(weight.view) // weight.view.nbytes)
                for start in range(0, len(weight.rows), rows):
                    with np.errstate(over="ignore"):
                        block = weight.view[weight.rows[start : start + rows]].astype(ours)
                    if not np.isfinite(block).all():
                        raise ValueError(f"its {key} has a number that {dtype} cannot hold")
                    file.write(block.tobytes())
                    content.madvise(mmap.MADV_DONTNEED)  # what was read counts as used memory
                    done += block.nbytes
                    on_progress(done, total)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
