"""ONNX file: the image side of a network, from pixels to regions, for programs without torch.

One graph has all of it: backbone, localization layer with its non-maximum suppression, recognition
network, final boxes and their suppression, and the encoding of the codes. Words are not part of it.
"""

import importlib.util
import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.ops import nms

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.errors import MissingExtra, UsageError
from dcsearch.model.fcln import FCLN


class ImageSide(nn.Module):
    """The regions of one photo as plain tensors: what `FCLN` does, without branches on data."""

    def __init__(self, network: FCLN) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (N, 4) in the photo's pixels, objectness (N,) in 0..1, best first, and encoded
        codes (N, E), of pixels (1, 3, H, W) uint8 RGB."""
        network, config = self.network, self.network.config
        height, width = pixels.shape[2:]
        features = network.features(pixels)
        candidates = network.localization(features)
        boxes, left = network.localization.cut(candidates.boxes[0], width=width, height=height)
        visible = left.nonzero().squeeze(1)
        objectness = candidates.objectness[0, visible]
        considered = min(config.localization.proposals_considered or len(visible), len(visible))
        best, places = objectness.topk(considered)
        boxes = boxes[visible[places]]
        # All in one go; `propose` begins with the best few, which comes to the same.
        kept = nms(boxes, best, config.localization.proposal_overlap)[
            : config.localization.proposals
        ]
        (regions,) = network.recognise(
            features, [boxes[kept]], width=width, height=height, most=None
        )
        return regions.boxes, regions.objectness.sigmoid(), regions.encoded


def write_onnx(checkpoint: Checkpoint, output: Path) -> None:
    """Write the image side as one ONNX file, in float32.

    Input `pixels` (1, 3, height, width) uint8 RGB, both sides as `FCLNConfig.photo_size` has them;
    outputs `boxes`, `objectness`, `codes` as `ImageSide.forward`. The file's metadata has the
    model's name, hash and config under "dcsearch".

    Args:
        checkpoint: its network is on the CPU.
        output: replaced if it exists.

    Raises:
        MissingExtra: the packages for it are not installed.
        UsageError: the network finds no regions by itself.
        OSError: the file cannot be written.
    """
    if not all(importlib.util.find_spec(package) for package in ("onnx", "onnxscript")):
        raise MissingExtra("writing ONNX", "export")
    config = checkpoint.config
    if not config.localizes:
        raise UsageError(
            f"the model {checkpoint.name} finds no regions by itself, so there is nothing to "
            "export as ONNX; name another model"
        )
    # Several cells of the coarsest map: the graph would hold on to a single one.
    side = 4 * max(config.features.side_multiple, checkpoint.model.localization.strides[-1])
    example = torch.zeros(1, 3, side, side + config.features.side_multiple, dtype=torch.uint8)
    free = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # what torch's own parts warn each other of
        graph = torch.export.export(
            ImageSide(checkpoint.model).eval(),
            (example,),
            dynamic_shapes={"pixels": {2: free, 3: free}},
            strict=True,  # numbers of boxes depend on the data; only this way may they
        )
        program = torch.onnx.export(
            graph,
            dynamo=True,
            input_names=["pixels"],
            output_names=["boxes", "objectness", "codes"],
            verbose=False,
        )
    assert program is not None
    description = {"name": checkpoint.name, "sha256": checkpoint.sha256, "config": config.to_json()}
    program.model.metadata_props["dcsearch"] = json.dumps(description)
    program.save(output)
