"""Proposals of another network, or of a classical proposer (the paper's EdgeBoxes)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dcsearch.data.proposals import Proposer
from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.describe import Describer
from dcsearch.errors import MissingExtra, UsageError


def proposals_of_network(describer: Describer) -> Proposer:
    """The final boxes that another network finds: (N, 4), best objectness first."""

    def propose(photo: AnnotatedPhoto, image: Image.Image | None) -> np.ndarray:
        assert image is not None
        (found,) = describer.describe([describer.prepare(image)], captions=False)
        boxes: np.ndarray = found.boxes
        return boxes

    return propose


def selective_search(*, most: int) -> Proposer:
    """Selective search (Uijlings et al. 2013) of OpenCV's contributed modules, its quick setting.

    OpenCV orders the boxes by chance, so the best of them differ from run to run.

    Raises:
        MissingExtra: OpenCV is not installed.
    """
    cv2 = _opencv()

    def propose(photo: AnnotatedPhoto, image: Image.Image | None) -> np.ndarray:
        assert image is not None
        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(np.ascontiguousarray(np.asarray(image)[:, :, ::-1]))  # BGR
        search.switchToSelectiveSearchFast()
        return _corners(search.process()[:most])

    return propose


def edge_boxes(model: Path, *, most: int) -> Proposer:
    """EdgeBoxes (Zitnick & Dollar 2014), the paper's external proposals, by OpenCV.

    Args:
        model: OpenCV's structured-forest edge model, model.yml or model.yml.gz.
        most: boxes of a photo at the most.

    Raises:
        MissingExtra: OpenCV is not installed.
        UsageError: the model cannot be read.
    """
    cv2 = _opencv()
    if not model.is_file():
        raise UsageError(f"no edge model at {model}; give OpenCV's model.yml.gz")
    try:
        # Of another file's options OpenCV makes zeros, and the program dies of dividing by them.
        stored = cv2.FileStorage()
        if not stored.open(str(model), cv2.FILE_STORAGE_READ) or stored.getNode("options").empty():
            raise cv2.error("no options")
        detector = cv2.ximgproc.createStructuredEdgeDetection(str(model))
    except cv2.error:
        raise UsageError(f"{model} is no edge model; give OpenCV's model.yml.gz") from None

    def propose(photo: AnnotatedPhoto, image: Image.Image | None) -> np.ndarray:
        assert image is not None
        edges = detector.detectEdges(np.asarray(image, dtype=np.float32) / 255)
        orientation = detector.computeOrientation(edges)
        finder = cv2.ximgproc.createEdgeBoxes()
        finder.setMaxBoxes(most)
        boxes, _ = finder.getBoundingBoxes(detector.edgesNms(edges, orientation), orientation)
        return _corners(boxes)

    return propose


def _opencv() -> Any:
    try:
        import cv2
        from cv2 import ximgproc  # noqa: F401 - absent from OpenCV without its contributed modules
    except ImportError:
        raise MissingExtra("proposing boxes by a classical method", "eval") from None
    return cv2


def _corners(boxes: Sequence[Any]) -> np.ndarray:
    """x, y, width, height as x0, y0, x1, y1: (N, 4)."""
    own = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    own[:, 2:] += own[:, :2]
    return own
