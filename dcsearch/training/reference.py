"""Training as the authors' code does, where it differs from the paper: see docs/paper.md."""

from torch import Tensor
from torchvision.ops import box_iou

from dcsearch.model.localization import Candidates
from dcsearch.training.matching import Match, match, sample
from dcsearch.training.objective import Objective
from dcsearch.training.targets import Target


class ReferenceObjective(Objective):
    """Boxes are not cut, and are matched and sampled as in the reference code.

    It moves the proposals, too, to where the final offset is easier to predict, and learns nothing
    from offsets beyond 10.
    """

    most_offset = 10.0
    moves_proposals = True

    def sample_candidates(
        self, candidates: Candidates, photo: int, target: Target, *, width: int, height: int
    ) -> tuple[Tensor, Match, Tensor]:
        """One photo's moved boxes (N, 4), their match, and the indices of the mini-batch."""
        config = self.config
        moved = candidates.boxes[photo]
        found = match_as_reference(
            moved.detach(),
            target.boxes,
            positive=config.positive_overlap,
            negative=config.negative_overlap,
            frame=(width, height),
        )
        return moved, found, sample(found, config.sampled_boxes, again=True)


def match_as_reference(
    boxes: Tensor, regions: Tensor, *, positive: float, negative: float, frame: tuple[int, int]
) -> Match:
    """Match boxes to annotated regions as the reference code does (BoxSampler.lua).

    Unlike `match`, a box that reaches out of the photo is neither positive nor negative, unless it
    is the best of some region; a positive's IoU is above `positive`; a box stands for the region
    that it covers most, though it be the best of another; and where no negative is left, all that
    is not positive is negative.

    Args:
        boxes: (N, 4), not clipped.
        regions: (P, 4).
        positive: IoU, 0 to 1.
        negative: IoU, 0 to 1.
        frame: width and height of the photo in pixels.
    """
    inside = (boxes[:, :2] >= 0).all(dim=1) & (boxes[:, 2:] <= boxes.new_tensor(frame)).all(dim=1)
    if len(regions) == 0 or len(boxes) == 0:
        return match(boxes, regions)._replace(negative=inside if inside.any() else ~inside)
    overlap = box_iou(boxes, regions)  # (N, P)
    best, region = overlap.max(dim=1)  # (N,)
    is_positive = (best > positive) & inside
    is_positive[overlap.argmax(dim=0)] = True
    is_negative = (best < negative) & inside & ~is_positive
    return Match(region, is_positive, is_negative if is_negative.any() else ~is_positive)
