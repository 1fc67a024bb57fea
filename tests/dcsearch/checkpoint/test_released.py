"""The authors' network: what is imported computes what their file says, in plain numpy; files that
are not theirs are one sentence."""

import random
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn
from torch.testing import assert_close

from dcsearch.checkpoint.checkpoint import Checkpoint, load_checkpoint
from dcsearch.checkpoint.released import import_released
from dcsearch.errors import CheckpointError, UsageError
from dcsearch.model import presets
from dcsearch.model.language import pad_tokens
from dcsearch.model.vgg16 import VGG16Backbone
from tests.torch7_fixtures import (
    ANCHORS,
    WORDS,
    Object,
    Sizes,
    Storage,
    released,
    released_weights,
    tensor,
    torch7,
    write_released,
)  # fmt: skip
from tests.torch7_fixtures import Tensor as LuaTensor

Weights = Mapping[str, np.ndarray]


# the reference: the authors' code in plain numpy, with their weights, layouts, ids and pixels


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def convolved(x: np.ndarray, weights: Weights, name: str, pad: int) -> np.ndarray:
    """(C, H, W) to (O, H, W)."""
    weight = weights[f"{name}.weight"].astype(float)
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    windows = sliding_window_view(padded, weight.shape[2:], axis=(1, 2))  # (C, H, W, 3, 3)
    summed = np.tensordot(weight, windows, axes=((1, 2, 3), (0, 3, 4)))
    return summed + weights[f"{name}.bias"][:, None, None]


def linear(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"].astype(float).T + weights[f"{name}.bias"]


def pooled(x: np.ndarray) -> np.ndarray:
    """2 x 2 maxima with stride 2, a half window counting as one (Caffe's ceil)."""
    channels, rows, columns = x.shape
    padded = np.pad(x, ((0, 0), (0, rows % 2), (0, columns % 2)), constant_values=-np.inf)
    return padded.reshape(channels, -(-rows // 2), 2, -(-columns // 2), 2).max(axis=(2, 4))


def reference_features(weights: Weights, photo: np.ndarray) -> np.ndarray:
    """(512, rows, columns) of an RGB photo (3, H, W) in 0..255."""
    mean = np.array([103.939, 116.779, 123.68])
    x = photo[::-1].astype(float) - mean[:, None, None]
    for index in range(13):
        x = relu(convolved(x, weights, f"conv{index}", pad=1))
        if index in (1, 3, 6, 9):
            x = pooled(x)
    return x


def reference_moved(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Boxes (..., 4) as (xc, yc, w, h) moved by (tx, ty, tw, th)."""
    x, y, w, h = np.moveaxis(boxes, -1, 0)
    tx, ty, tw, th = np.moveaxis(offsets, -1, 0)
    return np.stack([x + tx * w, y + ty * h, w * np.exp(tw), h * np.exp(th)], axis=-1)


def reference_proposals(weights: Weights, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (k, rows, columns, 4) as (xc, yc, w, h), pixels counted from 1, and p(object)."""
    hidden = relu(convolved(features, weights, "rpn", pad=1))
    _, rows, columns = hidden.shape
    k = len(ANCHORS)
    offsets = convolved(hidden, weights, "boxes", pad=0).reshape(k, 4, rows, columns)
    scores = np.exp(convolved(hidden, weights, "scores", pad=0).reshape(k, 2, rows, columns))
    anchors = np.empty((k, rows, columns, 4))
    for shape, (width, height) in enumerate(ANCHORS):
        for row in range(rows):
            for column in range(columns):
                centre = (8.5 + 16 * column, 8.5 + 16 * row)
                anchors[shape, row, column] = (*centre, width, height)
    return reference_moved(anchors, np.moveaxis(offsets, 1, -1)), scores[:, 0] / scores.sum(axis=1)


def corners(boxes: np.ndarray) -> np.ndarray:
    """First and last pixel (x0, y0, x1, y1) of boxes (xc, yc, w, h)."""
    half = (boxes[:, 2:] - 1) / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def reference_clipped(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """(xc, yc, w, h) cut to the photo, a pixel lost on the way back from the corners."""
    x0, y0, x1, y1 = corners(boxes).T
    x0, x1 = np.clip(x0, 1, width - 1), np.clip(x1, 2, width)
    y0, y1 = np.clip(y0, 1, height - 1), np.clip(y1, 2, height)
    return np.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], axis=1)


def reference_nms(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> list[int]:
    """Indices of the boxes that no better kept one overlaps by more, best first."""
    edges = corners(boxes)
    areas = (edges[:, 2] - edges[:, 0] + 1) * (edges[:, 3] - edges[:, 1] + 1)
    waiting, kept = list(np.argsort(-scores)), []
    while waiting:
        best = waiting.pop(0)
        kept.append(best)
        low = np.maximum(edges[best, :2], edges[waiting, :2])
        high = np.minimum(edges[best, 2:], edges[waiting, 2:])
        shared = np.maximum(high - low + 1, 0).prod(axis=1)
        ratio = shared / (areas[best] + areas[waiting] - shared)
        waiting = [box for box, own in zip(waiting, ratio, strict=True) if own <= overlap]
    return kept


def reference_sampled(
    features: np.ndarray, box: np.ndarray, grid: int, width: int, height: int
) -> np.ndarray:
    """(512, grid, grid) on the grid that touches the box's corners, 0 outside the map."""
    channels, rows, columns = features.shape
    x, y, w, h = box
    result = np.zeros((channels, grid, grid))
    for i, v in enumerate(np.linspace(-1, 1, grid)):
        for j, u in enumerate(np.linspace(-1, 1, grid)):
            column = (w / width * u + (2 * x - width - 1) / (width - 1) + 1) / 2 * (columns - 1)
            row = (h / height * v + (2 * y - height - 1) / (height - 1) + 1) / 2 * (rows - 1)
            for r in (int(np.floor(row)), int(np.floor(row)) + 1):
                for c in (int(np.floor(column)), int(np.floor(column)) + 1):
                    if 0 <= r < rows and 0 <= c < columns:
                        near = (1 - abs(row - r)) * (1 - abs(column - c))
                        result[:, i, j] += near * features[:, r, c]
    return result


class ReferenceRegions(NamedTuple):
    boxes: np.ndarray  # (N, 4) as (xc, yc, w, h), not clipped
    objectness: np.ndarray  # (N,) logits
    codes: np.ndarray  # (N, D)


def reference_regions(
    weights: Weights, features: np.ndarray, grid: int, width: int, height: int
) -> ReferenceRegions:
    boxes, scores = reference_proposals(weights, features)
    boxes = reference_clipped(boxes.reshape(-1, 4), width, height)
    boxes = boxes[reference_nms(boxes, scores.reshape(-1), 0.7)[:1000]]
    regions = [reference_sampled(features, box, grid, width, height).reshape(-1) for box in boxes]
    codes = relu(linear(relu(linear(np.stack(regions), weights, "fc6")), weights, "fc7"))
    objectness = linear(codes, weights, "objectness")[:, 0]
    final = reference_moved(boxes, linear(codes, weights, "final"))
    kept = reference_nms(final, objectness, 0.3)
    return ReferenceRegions(final[kept], objectness[kept], codes[kept])


def reference_likelihoods(weights: Weights, codes: np.ndarray, phrase: list[int]) -> np.ndarray:
    """log p(phrase | region) of codes (N, D); ids count from 1, START and END are V + 1."""
    boundary = len(WORDS) + 1
    weight, bias = weights["lstm.weight"].astype(float), weights["lstm.bias"]
    hidden = cell = np.zeros((len(codes), len(bias) // 4))
    total = np.zeros(len(codes))
    read = [relu(linear(codes, weights, "encoder"))]
    read += [weights["lookup.weight"][[word - 1] * len(codes)] for word in (boundary, *phrase)]
    for step, (inputs, word) in enumerate(zip(read, [0, *phrase, boundary], strict=True)):
        gates = np.concatenate([inputs, hidden], axis=1) @ weight + bias
        write, forget, output, new = np.split(gates, 4, axis=1)  # torch-rnn's order
        cell = sigmoid(forget) * cell + sigmoid(write) * np.tanh(new)
        hidden = sigmoid(output) * np.tanh(cell)
        if step:
            logits = linear(hidden, weights, "output")
            total += logits[:, word - 1] - np.log(np.exp(logits).sum(axis=1))
    return total


def edges(boxes: np.ndarray) -> Tensor:
    """Our corners of boxes (xc, yc, w, h): the first pixel, 1, is from 0 to 1."""
    centre, size = boxes[..., :2] - 0.5, boxes[..., 2:]
    return torch.from_numpy(np.concatenate([centre - size / 2, centre + size / 2], axis=-1)).float()


# the imported network, of VGG-16's own widths


class Imported(NamedTuple):
    file: Path
    checkpoint: Checkpoint
    weights: Weights  # by the authors' names, in their layouts
    photo: np.ndarray  # (3, H, W) uint8
    features: np.ndarray


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """A network of random weights, and a photo whose sides are odd at every pool but one."""
    folder = tmp_path_factory.mktemp("released")
    weights = released_weights(Sizes(), seed=10)  # no overlap is within rounding of .7 or .3
    file = write_released(folder / "vgg.t7", released(weights))
    import_released(file, folder / "vgg.safetensors", name="vgg", dtype=torch.float32)
    photo = np.random.default_rng(1).integers(0, 256, (3, 97, 150), dtype=np.uint8)
    checkpoint = load_checkpoint(folder / "vgg.safetensors")
    return Imported(file, checkpoint, weights, photo, reference_features(weights, photo))


def test_features_are_those_of_the_authors_weights(imported: Imported) -> None:
    model = imported.checkpoint.model
    features = model.features(torch.from_numpy(imported.photo[None])).detach()
    assert features.shape == (1, 512, 7, 10)
    assert features.std() > 0.1
    assert_close(features[0], torch.from_numpy(imported.features).float(), rtol=1e-4, atol=1e-4)


def test_every_anchor_has_the_authors_box_and_probability(imported: Imported) -> None:
    features = torch.from_numpy(imported.features[None]).float()
    with torch.no_grad():
        found = imported.checkpoint.model.localization(features)
    boxes, scores = reference_proposals(imported.weights, imported.features)
    expected = edges(np.moveaxis(boxes, 0, 2).reshape(-1, 4))  # row, column, shape
    assert_close(found.boxes[0], expected, rtol=1e-4, atol=1e-2)
    probabilities = torch.from_numpy(np.moveaxis(scores, 0, 2).reshape(-1)).float()
    assert probabilities.std() > 0.1
    assert_close(found.objectness[0].sigmoid(), probabilities, rtol=1e-3, atol=1e-5)


def test_regions_of_a_photo_and_likelihoods_of_phrases_are_the_authors(imported: Imported) -> None:
    _, height, width = imported.photo.shape
    checkpoint, weights = imported.checkpoint, imported.weights
    (found,) = checkpoint.model(torch.from_numpy(imported.photo[None]))
    expected = reference_regions(weights, imported.features, 3, width, height)
    boxes = edges(expected.boxes)
    boxes[:, 0::2].clamp_(0, width)  # the authors' reach out of the photo, or lie outside
    boxes[:, 1::2].clamp_(0, height)
    seen = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(dim=1)
    boxes, expected = boxes[seen], ReferenceRegions(*(each[seen.numpy()] for each in expected))
    assert len(found.boxes) > 5
    assert_close(found.boxes, boxes, rtol=1e-4, atol=1e-2)
    assert_close(found.objectness, torch.from_numpy(expected.objectness).float(), **NEAR)
    encoded = relu(linear(expected.codes, weights, "encoder"))
    assert_close(found.encoded, torch.from_numpy(encoded).float(), **NEAR)

    for phrase in ("a red dog on the grass", "blue cup", "a zebra", ""):
        ids = [WORDS.index(word if word in WORDS else "<UNK>") + 1 for word in phrase.split()]
        likelihoods = reference_likelihoods(weights, expected.codes, ids)
        tokens = pad_tokens([checkpoint.vocabulary.encode(phrase)])
        with torch.no_grad():
            spoken = checkpoint.model.language.cross_log_likelihoods(found.encoded, tokens)[:, 0]
        assert spoken.std() > 0.01
        assert_close(spoken, torch.from_numpy(likelihoods).float(), **NEAR)


NEAR: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-3}


def test_the_import_needs_less_memory_than_half_of_what_it_writes(
    imported: Imported, tmp_path: Path
) -> None:
    target = tmp_path / "measured.safetensors"
    tracemalloc.start()
    import_released(imported.file, target, name="measured", dtype=torch.float32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < target.stat().st_size / 2


# what else an import does, with a backbone of a few channels


NARROW = Sizes(convolutions=(2, 3, 2, 4, 3, 2, 3, 4, 2, 3, 2, 3, 5))


class NarrowBackbone(VGG16Backbone):
    """VGG-16 with a few channels in each layer."""

    channels = 5

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        before, widths = 3, iter(NARROW.convolutions)
        for index, layer in enumerate(self.features):
            if isinstance(layer, nn.Conv2d):
                width = next(widths)
                self.features[index] = nn.Conv2d(before, width, 3, padding=1)
                before = width


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Weights:
    """Weights of a narrow network, which take the place of VGG-16's in this test."""
    monkeypatch.setattr("dcsearch.model.vgg16.VGG16Backbone", NarrowBackbone)
    monkeypatch.setattr("dcsearch.checkpoint.released.VGG16Backbone", NarrowBackbone)
    return released_weights(NARROW)


def taken_in(value: object, folder: Path, dtype: torch.dtype = torch.float32) -> Checkpoint:
    """A checkpoint's value, written, imported and loaded."""
    source = write_released(folder / "their.t7", value)
    import_released(source, folder / "our.safetensors", name="ours", dtype=dtype)
    return load_checkpoint(folder / "our.safetensors")


def below(checkpoint: dict[str, Any], path: str) -> Any:
    """The field, or the module counted from 1, that stands under a path in `model.nets`."""
    value = checkpoint["model"].fields["nets"]
    for key in path.split("."):
        fields = value.fields if isinstance(value, Object) else value
        value = fields["modules"][int(key) - 1] if key.isdecimal() else fields[key]
    return value


def test_sizes_words_and_training_are_the_files_and_the_rest_is_the_reference(
    narrow: Weights, tmp_path: Path
) -> None:
    checkpoint = taken_in(released(narrow), tmp_path)
    config = checkpoint.config
    assert checkpoint.name == "ours"
    assert (
        config.localization.proposal_hidden,
        config.localization.grid,
        config.recognition.recognition_hidden,
    ) == (10, 3, 24)
    assert (
        config.recognition.code_size,
        config.language.encoded_size,
        config.language.language_hidden,
    ) == (20, 12, 9)
    reference = SimpleNamespace(**presets.reference().values())
    assert config.localization.anchor_shapes == reference.anchor_shapes
    assert (config.localization.proposals, config.features.photo_side) == (
        reference.proposals,
        reference.photo_side,
    )
    assert checkpoint.vocabulary.words == (
        *("<unk>", "a", "red", "dog", "on", "the"),
        *("grass", "blue", "cup"),
    )
    assert checkpoint.provenance == {
        "imported_from": "their.t7",
        "iterations": 40_000,
        "validation_map": 0.057,
        "validation_detection_map": 0.25,
    }


def test_every_number_of_the_file_is_in_the_network_once(narrow: Weights, tmp_path: Path) -> None:
    network = taken_in(released(narrow), tmp_path).model
    ours = np.concatenate([each.numpy().reshape(-1) for each in network.state_dict().values()])
    theirs = np.concatenate([each.reshape(-1) for each in narrow.values()])
    assert len(narrow) == 47
    assert np.array_equal(np.sort(ours), np.sort(theirs))


def test_half_precision_rounds_each_number(narrow: Weights, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    whole = taken_in(released(narrow), tmp_path).model.state_dict()
    half = taken_in(released(narrow), tmp_path / "half", torch.float16).model.state_dict()
    for key, value in whole.items():
        assert_close(half[key], value.half().float(), rtol=0, atol=0)


def as_another_library_keeps_it(checkpoint: dict[str, Any], narrow: Weights) -> None:
    """cuDNN's class names, flat filters, words under texts, numbers of another kind."""
    for index, name in ((1, "conv0"), (3, "conv1")):
        module = below(checkpoint, f"conv_net1.{index}")
        module.typename = "cudnn.SpatialConvolution" if index == 1 else "nn.SpatialConvolutionMM"
        flat = narrow[f"{name}.weight"].reshape(len(narrow[f"{name}.weight"]), -1)
        module.fields["weight"] = tensor(flat)
    language = below(checkpoint, "language_model").fields
    language["idx_to_token"] = {str(index): word for index, word in enumerate(WORDS, start=1)}
    modules = below(checkpoint, "recog_base").fields
    modules["modules"] = {str(i): each for i, each in enumerate(modules["modules"], start=1)}
    encoder = below(checkpoint, "language_model.image_encoder.1").fields
    encoder["weight"] = tensor(narrow["encoder.weight"].astype(np.float64))


def test_a_file_of_another_library_is_the_same_network(narrow: Weights, tmp_path: Path) -> None:
    taken_in(released(narrow), tmp_path)
    once = (tmp_path / "our.safetensors").read_bytes()
    other = released(narrow)
    as_another_library_keeps_it(other, narrow)
    taken_in(other, tmp_path)
    assert (tmp_path / "our.safetensors").read_bytes() == once


@pytest.mark.parametrize("place", [0, 3, 8])
def test_unknown_comes_first_wherever_it_stood(narrow: Weights, tmp_path: Path, place: int) -> None:
    words = [word for word in WORDS if word != "<UNK>"]
    words.insert(place, "<UNK>")
    checkpoint = taken_in(released(narrow, words), tmp_path)
    assert checkpoint.vocabulary.words == ("<unk>", *(w for w in words if w != "<UNK>"))
    language = checkpoint.model.language
    for theirs, word in enumerate(words):
        ours = 0 if word == "<UNK>" else checkpoint.vocabulary.encode(word)[0]
        assert language.embedding.weight[ours].tolist() == narrow["lookup.weight"][theirs].tolist()
        assert language.output.weight[ours].tolist() == narrow["output.weight"][theirs].tolist()
        assert language.output.bias[ours].item() == narrow["output.bias"][theirs]
    count = len(words)
    assert language.embedding.weight[count:].tolist() == narrow["lookup.weight"][count:].tolist()
    assert language.output.bias[count].item() == narrow["output.bias"][count]


def test_other_anchors_are_the_files(narrow: Weights, tmp_path: Path) -> None:
    checkpoint = released(narrow)
    make = below(checkpoint, "localization_layer.nets.rpn.3.1.3.1.1")
    make.fields["anchors"] = tensor(np.array(ANCHORS, np.float32).T / 2)
    shapes = taken_in(checkpoint, tmp_path).config.localization.anchor_shapes
    assert shapes[:2] == ((22.5, 45.0), (45.0, 22.5))


def test_a_file_stripped_of_its_history_says_less_of_the_training(
    narrow: Weights, tmp_path: Path
) -> None:
    checkpoint = released(narrow)
    del checkpoint["results_history"], checkpoint["loss_history"]
    assert taken_in(checkpoint, tmp_path).provenance == {
        "imported_from": "their.t7", "iterations": 40_000,
    }  # fmt: skip
    del checkpoint["iter"]
    assert taken_in(checkpoint, tmp_path).provenance == {"imported_from": "their.t7"}


def test_progress_is_told_in_bytes_up_to_the_last(narrow: Weights, tmp_path: Path) -> None:
    source = write_released(tmp_path / "their.t7", released(narrow))
    told: list[tuple[int, int]] = []
    import_released(
        source, tmp_path / "our.safetensors", name="ours", dtype=torch.float16,
        on_progress=lambda done, of: told.append((done, of)),
    )  # fmt: skip
    total = 2 * sum(each.size for each in narrow.values())
    assert told == sorted(told)
    assert told[-1] == (total, total)


# what is refused


def refusal(source: Path, target: Path, dtype: torch.dtype = torch.float32) -> str:
    """The sentence with which a file is refused; nothing is left of the attempt."""
    target.write_bytes(b"older")
    with pytest.raises(CheckpointError) as caught:
        import_released(source, target, name="ours", dtype=dtype)
    assert target.read_bytes() == b"older"
    assert not target.with_name(target.name + ".part").exists()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 400
    return sentence


def reason(value: object, folder: Path, dtype: torch.dtype = torch.float32) -> str:
    """What stands in the sentence's brackets."""
    source = write_released(folder / "their.t7", value)
    sentence = refusal(source, folder / "our.safetensors", dtype)
    before, after = (
        f"{source} is not the authors' network or damaged (",
        "); name their densecap-pretrained-vgg16.t7, unpacked",
    )
    assert sentence.startswith(before)
    assert sentence.endswith(after)
    return sentence[len(before) : -len(after)]


def without(path: str, field: str) -> Callable[[dict[str, Any]], None]:
    def change(checkpoint: dict[str, Any]) -> None:
        del below(checkpoint, path).fields[field]

    return change


def with_field(path: str, field: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(checkpoint: dict[str, Any]) -> None:
        below(checkpoint, path).fields[field] = value

    return change


def floats(*shape: int, fill: float = 1.0) -> LuaTensor:
    return tensor(np.full(shape, fill, np.float32))


FC6 = Object("nn.Linear", {"weight": floats(24, 45), "bias": floats(24)})
CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "it has no conv_net2.8.bias": without("conv_net2.8", "bias"),
    "it has no localization_layer.nets.rpn.1.weight": with_field("localization_layer", "nets", {}),
    "it has no recog_base.5.weight": with_field("recog_base", "modules", [None, FC6, None]),
    "it has no language_model.rnn.1.weight": without("language_model.rnn.1", "weight"),
    "it has no idx_to_token": without("language_model", "idx_to_token"),
    "its objectness_branch.weight is no tensor of numbers": with_field(
        "objectness_branch", "weight", tensor(np.ones((1, 20), np.int64))
    ),
    "its recog_base.2.bias is no tensor of numbers": with_field("recog_base.2", "bias", 3.5),
    "its box_reg_branch.bias is no tensor of numbers": with_field(
        "box_reg_branch", "bias", LuaTensor(None, (), ())
    ),
    "its recognition.fc7.weight is (20, 25), where (20, 24) fits the rest": with_field(
        "recog_base.5", "weight", floats(20, 25)
    ),
    "its localization.objectness.bias is (48,), where (24,) fits the rest": with_field(
        "localization_layer.nets.rpn.3.2.1", "bias", floats(48)
    ),
    "its language.embedding.weight is (12, 12), where (11, 12) fits the rest": with_field(
        "language_model.lookup_table", "weight", floats(12, 12)
    ),
    "its language.hidden_gates.weight is (36, 8), where (36, 9) fits the rest": with_field(
        "language_model.rnn.1", "weight", floats(20, 36)
    ),
    "its backbone.features.0.weight is (2, 3, 5, 5), where (2, 3, 3, 3) fits the rest": with_field(
        "conv_net1.1", "weight", floats(2, 3, 5, 5)
    ),
    "its idx_to_token has not 10 words": with_field("language_model", "vocab_size", 10),
    "its vocab_size is no number that can be": with_field("language_model", "vocab_size", "9"),
    "its seq_length is no number that can be": with_field("language_model", "seq_length", 1e300),
    "longest_caption cannot be 0": with_field("language_model", "seq_length", 0.5),
    "its idx_to_token has no <UNK>": with_field(
        "language_model", "idx_to_token", [*"abcdefghi"]
    ),
    "a word stands in the vocabulary twice": with_field(
        "language_model", "idx_to_token", ["<UNK>", *"abcdefgg"]
    ),
    "its anchors have x0 = 1.0, not 8.5": with_field(
        "localization_layer.nets.rpn.3.1.3.1.1", "x0", 1
    ),
    "its anchors are (12,), not widths and heights": with_field(
        "localization_layer.nets.rpn.3.1.3.1.1", "anchors", floats(12)
    ),
    "anchor_shapes cannot be ((-1.0, -1.0),)": with_field(
        "localization_layer.nets.rpn.3.1.3.1.1", "anchors", floats(2, 1, fill=-1)
    ),
    "its weights are more than the file": with_field(
        "recog_base.2", "weight", LuaTensor(Storage(np.ones(1, np.float32)), (9**6, 9**6), (0, 0))
    ),
    "its recognition.fc7.bias has a number that torch.float32 cannot hold": with_field(
        "recog_base.5", "bias", floats(20, fill=np.nan)
    ),
}  # fmt: skip


@pytest.mark.parametrize("expected", CHANGES)
def test_a_network_of_another_form_is_refused_with_the_reason(
    narrow: Weights, tmp_path: Path, expected: str
) -> None:
    checkpoint = released(narrow)
    CHANGES[expected](checkpoint)
    assert reason(checkpoint, tmp_path) == expected


def test_a_number_too_large_for_half_precision_is_refused(narrow: Weights, tmp_path: Path) -> None:
    checkpoint = released(narrow)
    below(checkpoint, "recog_base.5").fields["bias"] = floats(20, fill=7e4)
    assert taken_in(checkpoint, tmp_path).model.recognition.fc7.bias[0] == 7e4
    assert reason(checkpoint, tmp_path, torch.float16) == (
        "its recognition.fc7.bias has a number that torch.float16 cannot hold"
    )


@pytest.mark.parametrize("value", [None, 3, "text", [], {"model": 1}, {"model": {"nets": True}}])
def test_another_torch7_file_is_refused(tmp_path: Path, value: object) -> None:
    assert reason(value, tmp_path).startswith("it has no ")


def test_what_is_no_torch7_file_is_refused(tmp_path: Path) -> None:
    source, target = tmp_path / "their.t7", tmp_path / "our.safetensors"
    source.write_bytes(b"")
    assert "(cannot mmap an empty file)" in refusal(source, target)
    source.write_bytes(b"PK\x03\x04" + bytes(100))
    assert "(it holds a value of kind 67324752)" in refusal(source, target)
    no_file = "; name densecap-pretrained-vgg16.t7, unpacked"
    assert refusal(tmp_path, target) == f"no file at {tmp_path}{no_file}"
    assert refusal(tmp_path / "none", target) == f"no file at {tmp_path / 'none'}{no_file}"


def test_a_target_that_cannot_be_written_is_named(narrow: Weights, tmp_path: Path) -> None:
    source = write_released(tmp_path / "their.t7", released(narrow))
    target = tmp_path / "missing" / "our.safetensors"
    with pytest.raises(UsageError) as caught:
        import_released(source, target, name="ours", dtype=torch.float32)
    assert str(caught.value) == (
        f"{source} cannot become {target} (No such file or directory); choose files that can be "
        "read and written"
    )


def test_another_dtype_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got torch\.bfloat16"):
        import_released(tmp_path / "a", tmp_path / "b", name="ours", dtype=torch.bfloat16)


def test_a_damaged_file_is_one_sentence_or_a_network(narrow: Weights, tmp_path: Path) -> None:
    content, draw = torch7(released(narrow)), random.Random(0)
    source, target = tmp_path / "their.t7", tmp_path / "our.safetensors"
    outcomes, sentences = [], []
    for attempt in range(60):
        damaged = bytearray(content)
        if attempt % 3:
            for _ in range(draw.choice((5, 50, 500))):
                damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        else:
            del damaged[draw.randrange(len(content)) :]
        source.write_bytes(damaged)
        target.unlink(missing_ok=True)
        try:
            import_released(source, target, name="ours", dtype=torch.float16)
        except CheckpointError as error:
            sentences.append(str(error))
            outcomes.append(False)
        else:
            load_checkpoint(target)
            outcomes.append(True)
    assert 0 < sum(outcomes) < 30
    assert all("\n" not in each and len(each) < 500 for each in sentences)
