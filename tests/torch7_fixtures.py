"""Torch7 files, written as torch7's File.lua writes them: any value, and the authors' network.

The network has the nesting of the released checkpoint: `net` and `nets` share their modules, the
parameters of conv_net2 and those of all layers behind it lie flattened in one storage each, with
their gradients in two more, and a graph of modules full of cycles comes before all of it.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

VGG = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
ANCHORS = (
    (45, 90), (90, 45), (64, 64), (90, 180), (180, 90), (128, 128),
    (181, 362), (362, 181), (256, 256), (362, 724), (724, 362), (512, 512),
)  # fmt: skip
WORDS = ("a", "red", "dog", "on", "the", "<UNK>", "grass", "blue", "cup")


@dataclass(eq=False)
class Object:
    """An object of a Lua class."""

    typename: str
    fields: dict[Any, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Storage:
    """Numbers in a row."""

    numbers: np.ndarray


@dataclass(eq=False)
class Tensor:
    """A view of a storage; `first` is counted from 0."""

    storage: Storage | None
    sizes: Sequence[int]
    strides: Sequence[int]
    first: int = 0
    kind: str = "Float"


def tensor(array: np.ndarray) -> Tensor:
    """A tensor with a storage of its own, as the array lies in memory."""
    kinds = {"f4": "Float", "f8": "Double", "i8": "Long", "u1": "Byte", "f2": "Half", "i4": "Int"}
    flat = array.reshape(-1, order="A")
    strides = [stride // array.itemsize for stride in array.strides]
    return Tensor(Storage(flat), array.shape, strides, kind=kinds[array.dtype.str[1:]])


def integer(value: int) -> bytes:
    return struct.pack("<i", value)


def long(value: int) -> bytes:
    return struct.pack("<q", value)


def text(value: str | bytes) -> bytes:
    """A text without its kind."""
    encoded = value.encode() if isinstance(value, str) else value
    return integer(len(encoded)) + encoded


def number(value: float) -> bytes:
    """A number with its kind."""
    return integer(1) + struct.pack("<d", value)


def torch7(value: object) -> bytes:
    """The bytes of a file with this value: None, a bool, number, text, dict or list as table,
    Object, Storage, Tensor; what is one object here is one object there."""
    parts: list[bytes] = []
    _append(value, parts, {})
    return b"".join(parts)


def _append(value: object, parts: list[bytes], indices: dict[int, int]) -> None:
    if value is None:
        parts.append(integer(0))
    elif isinstance(value, bool):
        parts.append(integer(5) + integer(value))
    elif isinstance(value, int | float):
        parts.append(number(value))
    elif isinstance(value, str | bytes):
        parts.append(integer(2) + text(value))
    elif isinstance(value, dict | list):
        if _referred(value, 3, parts, indices):
            return
        pairs = value if isinstance(value, dict) else dict(enumerate(value, start=1))
        parts.append(integer(len(pairs)))
        for key, each in pairs.items():
            _append(key, parts, indices)
            _append(each, parts, indices)
    elif isinstance(value, Object):
        if not _referred(value, 4, parts, indices):
            parts.append(text("V 1") + text(value.typename))
            _append(value.fields, parts, indices)
    elif isinstance(value, Tensor):
        if not _referred(value, 4, parts, indices):
            parts.append(text("V 1") + text(f"torch.{value.kind}Tensor"))
            parts.append(integer(len(value.sizes)))
            parts += [long(each) for each in (*value.sizes, *value.strides, value.first + 1)]
            if value.storage is None:
                parts.append(integer(0))
            elif not _referred(value.storage, 4, parts, indices):
                numbers = value.storage.numbers
                parts.append(text("V 1") + text(f"torch.{value.kind}Storage") + long(len(numbers)))
                parts.append(numbers.tobytes())
    else:
        raise TypeError(type(value))


def _referred(value: object, kind: int, parts: list[bytes], indices: dict[int, int]) -> bool:
    """Write kind and index of an object; whether it stands in the file already."""
    known = id(value) in indices
    parts.append(integer(kind) + integer(indices.setdefault(id(value), len(indices) + 1)))
    return known


# the authors' network


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Widths of a network like the authors'."""

    convolutions: tuple[int, ...] = VGG
    proposal_hidden: int = 10
    grid: int = 3
    recognition_hidden: int = 24
    code_size: int = 20
    encoded_size: int = 12
    language_hidden: int = 9


def released_weights(sizes: Sizes, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights in the authors' layouts by the authors' names, float32, such that no layer's
    signal dies or explodes for pixels of 0 to 255."""
    random = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}

    def layer(name: str, *shape: int, scale: float = 1.0) -> None:
        spread = scale * (2 / np.prod(shape[1:])) ** 0.5
        weights[f"{name}.weight"] = random.normal(0, spread, shape).astype(np.float32)
        weights[f"{name}.bias"] = random.normal(0, 0.1, shape[0]).astype(np.float32)

    channels, k = 3, len(ANCHORS)
    for index, width in enumerate(sizes.convolutions):
        layer(f"conv{index}", width, channels, 3, 3, scale=1 if index else 1 / 64)
        channels = width
    layer("rpn", sizes.proposal_hidden, channels, 3, 3)
    layer("boxes", 4 * k, sizes.proposal_hidden, 1, 1, scale=0.2)
    layer("scores", 2 * k, sizes.proposal_hidden, 1, 1, scale=0.4)
    layer("fc6", sizes.recognition_hidden, channels * sizes.grid**2)
    layer("fc7", sizes.code_size, sizes.recognition_hidden)
    layer("objectness", 1, sizes.code_size)
    layer("final", 4, sizes.code_size, scale=0.1)
    layer("encoder", sizes.encoded_size, sizes.code_size)
    inputs, hidden, words = sizes.encoded_size, sizes.language_hidden, len(WORDS)
    layer("lookup", words + 2, sizes.encoded_size, scale=2)
    del weights["lookup.bias"]
    layer("lstm", inputs + hidden, 4 * hidden, scale=3)
    weights["lstm.bias"] = random.normal(0, 0.5, 4 * hidden).astype(np.float32)
    layer("output", words + 1, hidden, scale=2)
    return weights


def released(weights: Mapping[str, np.ndarray], words: Sequence[str] = WORDS) -> dict[str, Any]:
    """The checkpoint's value, which a test may change before it is written."""
    names = list(weights)
    fine, rest = names[8:26], names[26:]  # four convolutions are not flattened
    parts = {name: tensor(array) for name, array in weights.items() if name in names[:8]}
    gradients = {name: tensor(np.zeros_like(weights[name])) for name in names[:8]}
    for group in (fine, rest):
        storage = Storage(np.concatenate([weights[name].reshape(-1) for name in group]))
        gradient, first = Storage(np.full_like(storage.numbers, np.nan)), 0
        for name in group:
            array = weights[name]
            strides = [stride // array.itemsize for stride in array.strides]
            parts[name] = Tensor(storage, array.shape, strides, first)
            gradients[name] = Tensor(gradient, array.shape, strides, first)
            first += array.size
    parts["final.weight"] = tensor(np.asfortranarray(weights["final.weight"]))

    def module(typename: str, *modules: Object, **fields: Any) -> Object:
        empty = {"output": Tensor(None, (), ()), "gradInput": Tensor(None, (), ())}
        own = {"modules": list(modules)} if modules else {}
        return Object(f"nn.{typename}", {"train": False, **empty, **own, **fields})

    def learned(typename: str, name: str, **fields: Any) -> Object:
        for part in ("weight", "bias"):
            if f"{name}.{part}" in parts:
                fields[part] = parts[f"{name}.{part}"]
                fields[f"grad{part.title()}"] = gradients[f"{name}.{part}"]
        return module(typename, _type="torch.FloatTensor", **fields)

    def convolutions(first: int, *counts: int) -> Object:
        modules = []
        for count in counts:
            for index in range(first, first + count):
                modules += [learned("SpatialConvolution", f"conv{index}", kW=3, padW=1)]
                modules += [module("ReLU", inplace=True)]
            modules.append(module("SpatialMaxPooling", ceil_mode=True))
            first += count
        return module("Sequential", *modules)

    conv_net1, conv_net2 = convolutions(0, 2, 2), convolutions(4, 3, 3, 3)
    conv_net2.fields["modules"].pop()  # pool5
    words_table = dict(enumerate(words, start=1))
    opt = {
        "vocab_size": len(words), "seq_length": 15, "idx_to_token": words_table,
        "backend": "cudnn", "field_centers": [8.5, 8.5, 16, 16], "learning_rate": 1e-5,
    }  # fmt: skip
    anchors = tensor(np.array(ANCHORS, np.float32).T)  # strides 1 and 2
    make = module("MakeAnchors", x0=8.5, y0=8.5, sx=16, sy=16, anchors=anchors)
    reshaped = module("ReshapeBoxFeatures", k=len(ANCHORS))
    boxes = module(
        "Sequential",
        learned("SpatialConvolution", "boxes"),
        module("RegularizeLayer", w=5e-5),
        module("ConcatTable", module("Sequential", make, reshaped), reshaped),
        module("ConcatTable", module("ApplyBoxTransform"), module("Identity")),
    )
    scores = module("Sequential", learned("SpatialConvolution", "scores"), reshaped)
    rpn = module(
        "Sequential",
        learned("SpatialConvolution", "rpn"),
        module("ReLU"),
        module("ConcatTable", boxes, scores),
        module("FlattenTable"),
    )
    localization = module("LocalizationLayer", opt=opt, nets={"roi_pooling": {}, "rpn": rpn})
    recog_base = module(
        "Sequential",
        module("View"),
        learned("Linear", "fc6"),
        module("ReLU"),
        module("Dropout", p=0.5),
        learned("Linear", "fc7"),
        module("ReLU"),
        module("Dropout", p=0.5),
    )
    encoder = module("Sequential", learned("Linear", "encoder"), module("ReLU"), module("View"))
    lookup = learned("LookupTable", "lookup")
    rnn = module(
        "Sequential",
        learned("LSTM", "lstm", h0=Tensor(None, (), ()), remember_states=False),
        module("View"),
        learned("Linear", "output"),
        module("View"),
    )
    language = module(
        "LanguageModel",
        net=module("Sequential", module("ParallelTable", encoder, lookup), rnn),
        image_encoder=encoder,
        lookup_table=lookup,
        rnn=rnn,
        idx_to_token=words_table,
        vocab_size=len(words),
        seq_length=15,
        num_layers=1,
    )
    objectness, final = learned("Linear", "objectness"), learned("Linear", "final")

    node = Object("nngraph.Node", {"data": {"module": recog_base}})
    other = Object("nngraph.Node", {"data": {"module": language}, "children": [node]})
    node.fields["children"] = {1: other, other: 1}  # objects are keys, and cycles
    graph = Object("graph.Graph", {"nodes": {1: node, 2: other, node: 1, other: 2}})
    recog_net = module("gModule", recog_base, objectness, final, language, fg=graph, bg=graph)
    nets = {
        "recog_net": recog_net, "conv_net1": conv_net1, "conv_net2": conv_net2,
        "localization_layer": localization, "recog_base": recog_base,
        "objectness_branch": objectness, "box_reg_branch": final, "language_model": language,
    }  # fmt: skip
    model = Object("DenseCapModel", {
        "net": module("Sequential", conv_net1, conv_net2, localization, recog_net),
        "nets": nets, "opt": opt, "train": False, "finetune_cnn": True,
        "crits": {"lm_crit": module("TemporalCrossEntropyCriterion")},
    })  # fmt: skip
    results = {"loss_results": {"total_loss": 21.5}, "ap_results": {"map": 0.057, "detmap": 0.25}}
    return {
        "opt": opt, "iter": 40_000, "loss_history": {10: {"total_loss": 30.25}},
        "results_history": {20_000: {}, 40_000: results}, "model": model,
    }  # fmt: skip


def write_released(path: Path, checkpoint: object) -> Path:
    """A file with a checkpoint's value."""
    path.write_bytes(torch7(checkpoint))
    return path
