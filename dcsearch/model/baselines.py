"""The paper's baselines: networks that find no regions with a localization layer (section 4.2).

They have an FCLN's parts, of which they leave out what they do not use: objectness and final boxes
are not learned.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from dcsearch.errors import Cure, UsageError
from dcsearch.model.backbone import Maps
from dcsearch.model.fcln import FCLN, Regions
from dcsearch.model.recognition import Recognised


class Baseline(FCLN):
    """A network whose objectness is 0 logits for every region."""

    def objectness(self, recognised: Recognised) -> Tensor:
        """Zeros (N,)."""
        return torch.zeros_like(recognised.objectness)


class RegionRNN(Baseline):
    """Runs the backbone over every region's crop by itself."""

    finds_regions = False

    def forward(self, pixels: Tensor, **options: object) -> list[Regions]:
        """Raises UsageError: regions have to be given, see `recognise_given`."""
        raise UsageError("a region RNN finds no regions by itself", Cure.GIVE_REGIONS)

    def features(self, pixels: Tensor) -> Maps:
        """The normalised photos (B, 3, H, W) themselves, which `interpolate` takes crops of."""
        return self.backbone.normalise(pixels)

    def interpolate(
        self, features: Maps, boxes: Sequence[Tensor], *, width: int, height: int
    ) -> Tensor:
        """Features of every photo's crops in one list: (R1 + ... + RB, C, grid, grid)."""
        assert isinstance(features, Tensor)
        side = self.config.features.crop_side
        inner = [_pixel_centres(own) for own in boxes]
        crops = roi_align(features.float(), inner, side, sampling_ratio=2, aligned=True)
        whole = crops.new_tensor([[0, 0, side, side]]).expand(len(crops), 1, 4)
        maps = self.backbone(crops.to(memory_format=torch.channels_last)).float()
        return self.localization.interpolate(maps, whole, width=side, height=side).squeeze(1)


class FullImageRNN(Baseline):
    """Has one region, the whole photo."""

    @torch.no_grad()
    def forward(
        self,
        pixels: Tensor,
        *,
        lap: Callable[[str], None] = lambda stage: None,
        **options: object,
    ) -> list[Regions]:
        """One region of each photo of pixels (B, 3, H, W) uint8 RGB, whatever the options."""
        height, width = pixels.shape[2:]
        features = self.features(pixels)
        lap("CNN")
        whole = pixels.new_tensor([[0, 0, width, height]], dtype=torch.float32)
        return self.recognise_given(features, [whole] * len(pixels), width=width, height=height)


def _pixel_centres(boxes: Tensor) -> Tensor:
    """Boxes (R, 4) from the centres of their first pixels to those of their last: interpolation
    inside them reads no pixel beyond the boxes."""
    inset = ((boxes[:, 2:] - boxes[:, :2]) / 2).clamp(max=0.5)
    return torch.cat([boxes[:, :2] + inset, boxes[:, 2:] - inset], dim=1)
