"""Feature cache: the maps of a frozen backbone, computed once for some views of every photo.

What stands above a backbone that does not learn costs a fraction of a training step once the maps
are known. A view is what TrainingPhotos makes of a photo in one epoch; with V views the epochs
after the first V see the same ones again. Maps are float16, one file for each view and photo,
written as training comes to them, so that an interrupted run loses none.
"""

import hashlib
import json
import math
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from dcsearch.errors import UsageError
from dcsearch.model.timm_pyramid import TimmPyramidBackbone
from dcsearch.training.targets import Target

Maps = tuple[Tensor, ...]


class BodyMaps(NamedTuple):
    """What the body of a backbone makes of photos of one size."""

    maps: Maps  # each (B, C, H / stride, W / stride), the quotients rounded up
    width: int  # of the photos, pixels
    height: int


class View(NamedTuple):
    """One view of a photo: its pixels, or the maps that were kept of them."""

    key: tuple[int, int]  # view, photo
    width: int  # pixels
    height: int
    pixels: Tensor | None  # (3, H, W) uint8
    maps: Maps | None  # each (C, H / stride, W / stride) float16
    target: Target


class FeatureCache:
    """A folder of maps, which several processes may share."""

    def __init__(self, folder: Path, backbone: TimmPyramidBackbone, *, made_for: object) -> None:
        """Open the folder, or make it.

        Args:
            folder: of the maps.
            backbone: whose body the maps are of, with the weights that it keeps.
            made_for: plain JSON values of whatever else decides what the views show, and how the
                backbone sees them.

        Raises:
            UsageError: the folder holds maps of another backbone, or of other views.
        """
        self.folder, self.backbone = folder, backbone
        weights = {key: value.contiguous() for key, value in backbone.features.state_dict().items()}
        description = {"backbone": hashlib.sha256(save(weights)).hexdigest(), "views": made_for}
        digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        mark = folder / "made_for"
        if not mark.exists():
            _write_whole(mark, digest.encode())
        if mark.read_text(encoding="utf-8") != digest:
            raise UsageError(
                f"the feature cache {folder} was made for other photos, views or backbone weights; "
                "name another folder, or remove it"
            )

    def read(self, key: tuple[int, int], width: int, height: int) -> Maps | None:
        """The maps of a view of `width` x `height` pixels; None where there are none yet."""
        try:
            values = np.fromfile(self._file(key), dtype=np.float16)
        except FileNotFoundError:
            return None
        shapes = self._shapes(width, height)
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        if len(values) != ends[-1]:  # something has cut it short
            return None
        parts = np.split(values, ends[:-1])
        return tuple(
            torch.from_numpy(part.reshape(shape)) for part, shape in zip(parts, shapes, strict=True)
        )

    def write(self, key: tuple[int, int], maps: Sequence[Tensor]) -> None:
        """Keep the maps of a view."""
        file = self._file(key)
        file.parent.mkdir(exist_ok=True)
        values = [one.to(torch.float16).cpu().numpy().tobytes() for one in maps]
        _write_whole(file, b"".join(values))

    @torch.no_grad()
    def complete(self, views: Sequence[View], device: torch.device) -> BodyMaps:
        """The maps of views of one size, float32 on a device, those that are missing computed.

        What was computed is rounded to float16 as what was read, so that it makes no difference
        which of them it was.

        Args:
            views: B views, at least one.
            device: where the backbone is.
        """
        width, height = views[0].width, views[0].height
        known: dict[tuple[int, int], Maps] = {}
        missing: dict[tuple[int, int], Tensor] = {}
        for view in views:
            # Between the view's making and now a step before this one may have written its maps.
            maps = view.maps or self.read(view.key, width, height)
            if maps is not None:
                known[view.key] = maps
            elif view.pixels is not None:
                missing[view.key] = view.pixels
        # One photo at a time: kernels chosen by the size of a batch differ in the last bit, and
        # maps that are computed again are to be the same.
        for key, pixels in missing.items():
            one = pixels[None].to(device).contiguous(memory_format=torch.channels_last)
            found = self.backbone.body(self.backbone.normalise(one))
            known[key] = tuple(level[0].half().contiguous() for level in found)
            self.write(key, known[key])
        # Autocasting on a CPU cannot stack float16.
        maps = tuple(
            torch.stack([level.to(device).float() for level in levels]).contiguous(
                memory_format=torch.channels_last
            )
            for levels in zip(*(known[view.key] for view in views), strict=True)
        )
        return BodyMaps(maps, width, height)

    def _shapes(self, width: int, height: int) -> list[tuple[int, int, int]]:
        return [
            (channels, -(-height // stride), -(-width // stride))
            for channels, stride in zip(
                self.backbone.body_channels, self.backbone.body_strides, strict=True
            )
        ]

    def _file(self, key: tuple[int, int]) -> Path:
        view, photo = key
        return self.folder / str(view) / f"{photo}.maps"


def _write_whole(file: Path, content: bytes) -> None:
    """Replace a file, once the new one is whole; another process may be doing the same."""
    part = file.with_name(f"{file.name}.{uuid.uuid4().hex}.part")
    part.write_bytes(content)
    os.replace(part, file)
