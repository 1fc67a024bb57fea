"""COCO's average precision of one category, by pycocotools."""

import contextlib
import importlib
import io
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dcsearch.errors import MissingExtra
from dcsearch.evaluation.report import Box

Truths = dict[int, list[Box]]  # by photo


class Found(NamedTuple):
    """Boxes of one category in one photo, best first."""

    photo: int
    boxes: np.ndarray  # (D, 4) float32
    scores: np.ndarray  # (D,) float32


def coco_tools() -> tuple[Any, Any]:
    """COCO and COCOeval of pycocotools, which has no types.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return (
            importlib.import_module("pycocotools.coco").COCO,
            importlib.import_module("pycocotools.cocoeval").COCOeval,
        )
    except ImportError:
        raise MissingExtra("COCO's average precision", "eval") from None


class CocoPrecision:
    """pycocotools, for one category at a time.

    COCO's average precision is the mean over the categories, and the millions of detections of all
    of them at once would not fit into memory as the dictionaries that it wants.
    """

    def __init__(self, per_photo: int) -> None:
        self._annotations, self._evaluation = coco_tools()
        self._per_photo = per_photo

    def measure(
        self, truths: Truths, found: Sequence[Found], photos: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision (10, 101, 4) of a category, and the scores (D,) and hits (D,) at IoU .5 of all
        that was found of it."""
        true = [(photo, box, 0.0) for photo, boxes in truths.items() for box in boxes]
        detected = [
            (photo, box, score)
            for photo, boxes, scores in found
            for box, score in zip(boxes.tolist(), scores.tolist(), strict=True)
        ]
        with contextlib.redirect_stdout(io.StringIO()):  # it tells its progress there
            run = self._evaluation(self._boxes(true, photos), self._boxes(detected, photos), "bbox")
            run.params.maxDets = [self._per_photo]
            run.evaluate()
            run.accumulate()
        # The first are those of all sizes; of a photo without truth and detection there is None.
        results = [result for result in run.evalImgs[:photos] if result is not None]
        return (
            run.eval["precision"][:, :, 0, :, 0],
            np.concatenate([np.asarray(result["dtScores"], dtype=float) for result in results]),
            np.concatenate([result["dtMatches"][0] > 0 for result in results]),
        )

    def _boxes(self, records: Iterable[tuple[int, Sequence[float], float]], photos: int) -> Any:
        """Records (photo, box, score) as it has them."""
        boxes = self._annotations()
        boxes.dataset = {
            "images": [{"id": number} for number in range(photos)],
            "categories": [{"id": 1}],
            "annotations": [
                {
                    "id": number,  # from 1 on: 0 would be no match
                    "image_id": photo,
                    "category_id": 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                    "score": score,
                }
                for number, (photo, (x0, y0, x1, y1), score) in enumerate(records, start=1)
            ],
        }
        boxes.createIndex()
        return boxes
