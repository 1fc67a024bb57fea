"""Frame: the width and height that the boxes of a photo live in, whatever size its file has."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from dcsearch.data.findings import BadBox, Finding, Found, Kind

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in the photo's frame

LARGEST_SIDE = 1_000_000  # beyond any photo; what is larger is a mistake


class Frame(NamedTuple):
    """Whole pixels, 1 to LARGEST_SIDE."""

    width: int
    height: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Frame":
        """The frame of an object with "width" and "height".

        Raises:
            ValueError, KeyError, TypeError, OverflowError: it has none.
        """
        width, height = int(row["width"]), int(row["height"])
        if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
            raise ValueError(f"a photo of {width} x {height} pixels")
        return cls(width, height)

    def exact(self, edges: Iterable[Any]) -> Box:
        """The box, which may reach over the right and lower edge by the pixel that some count.

        Raises:
            BadBox: it is empty or outside.
            ValueError, TypeError, OverflowError: it is not four numbers.
        """
        x0, y0, x1, y1 = (float(edge) for edge in edges)
        inside = x0 >= 0 and x1 <= self.width + 1 and y0 >= 0 and y1 <= self.height + 1
        x1, y1 = min(x1, self.width), min(y1, self.height)
        if not (inside and x0 < x1 and y0 < y1):
            raise BadBox(f"box {edges} is empty or outside its {self.width} x {self.height} frame")
        return x0, y0, x1, y1

    def fitted(self, edges: Iterable[Any], place: str, found: Found) -> Box | None:
        """The part of the box that lies inside; None where nothing does.

        `found` is called for boxes that reach out by more than a pixel, and of those left out.

        Raises:
            ValueError, TypeError, OverflowError: it is not four finite numbers.
        """
        x0, y0, x1, y1 = box = tuple(float(edge) for edge in edges)
        if not all(map(math.isfinite, box)):
            raise ValueError(f"box {list(box)} is not four finite numbers")
        cut = max(x0, 0.0), max(y0, 0.0), min(x1, self.width), min(y1, self.height)
        empty = cut[0] >= cut[2] or cut[1] >= cut[3]
        if empty or max(abs(a - b) for a, b in zip(box, cut, strict=True)) > 1:
            what = "is empty or outside" if empty else "reaches over"
            done = "left out" if empty else "cut"
            reason = f"box {list(box)} {what} its {self.width} x {self.height} frame, {done}"
            found(Finding(kind=Kind.box, place=place, reason=reason, mended=True))
        return None if empty else cut
