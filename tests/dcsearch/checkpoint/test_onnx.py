"""The image side as ONNX: the same regions as the network's own, without torch."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.checkpoint.onnx import write_onnx
from dcsearch.errors import MissingExtra, UsageError
from dcsearch.model import presets
from dcsearch.model.backbone import Backbone
from dcsearch.model.fcln import FCLN
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS


class OneConvolution(Backbone):
    """A backbone that is quickly exported: one cell for 16 x 16 pixels, or for what is left."""

    channels, stride, centre = 512, 16, 8.0

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 512, 16, stride=16)

    def normalise(self, pixels: Tensor) -> Tensor:
        return pixels.float() / 255 - 0.5

    def forward(self, photos: Tensor) -> Tensor:
        return torch.relu(self.convolution(photos))


def checkpoint_of(**changes: Any) -> Checkpoint:
    """The reference's network made small, with seeded weights and a backbone of one layer."""
    config = presets.reference().replace(photo_side=128, anchor_shapes=((30, 30), (60, 30)),
        proposal_hidden=8, recognition_hidden=16, code_size=12, encoded_size=6, language_hidden=5,
        proposals=25, grid=3, **changes,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = FCLN(config, words=len(WORDS)).eval()
        model.backbone = OneConvolution()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape) / max(parameter[0].numel(), 4) ** 0.5)
    return Checkpoint(
        name="vgg",
        sha256="ab" * 32,
        config=config,
        vocabulary=Vocabulary(WORDS),
        provenance={},
        model=model,
    )


def test_the_graph_finds_the_networks_regions_in_photos_of_any_size(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    checkpoint = checkpoint_of()
    path = tmp_path / "vgg.onnx"
    write_onnx(checkpoint, path)
    onnx.checker.check_model(path, full_check=True)
    (told,) = onnx.load(path).metadata_props
    assert json.loads(told.value)["config"] == json.loads(json.dumps(checkpoint.config.to_json()))
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_outputs()] == ["boxes", "objectness", "codes"]
    chance = torch.Generator().manual_seed(1)
    counts = set()
    for height, width in ((96, 128), (128, 80), (37, 128)):
        pixels = torch.randint(0, 256, (1, 3, height, width), generator=chance, dtype=torch.uint8)
        boxes, objectness, codes = session.run(None, {"pixels": pixels.numpy()})
        (own,) = checkpoint.model(pixels)
        counts.add(len(own.boxes))
        np.testing.assert_allclose(boxes, own.boxes, atol=2e-3)
        np.testing.assert_allclose(objectness, own.objectness.sigmoid(), atol=1e-4)
        np.testing.assert_allclose(codes, own.encoded, atol=1e-4)
    assert len(counts) > 1  # how many there are is not fixed in the graph
    assert min(counts) > 1


def test_without_the_packages_the_extra_is_named(tmp_path: Path) -> None:
    with (
        mock.patch("importlib.util.find_spec", return_value=None),
        pytest.raises(MissingExtra) as caught,
    ):
        write_onnx(checkpoint_of(), tmp_path / "vgg.onnx")
    assert str(caught.value) == (
        "writing ONNX needs an extra; install it with: pip install 'dcsearch[export]'"
    )


def test_a_network_that_finds_no_regions_is_not_exported(tmp_path: Path) -> None:
    with (
        mock.patch("importlib.util.find_spec", return_value=object()),
        pytest.raises(UsageError, match="finds no regions by itself"),
    ):
        write_onnx(checkpoint_of(method="region_rnn"), tmp_path / "vgg.onnx")
