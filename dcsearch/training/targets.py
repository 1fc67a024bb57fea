"""What training knows of a photo: annotated boxes, their phrases, and boxes sampled near them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor


class PhraseTarget(NamedTuple):
    """One phrase to learn."""

    tokens: list[int]
    content: frozenset[int]  # the tokens that mean something: no articles, no prepositions


class Target(NamedTuple):
    """The annotation of one photo."""

    boxes: Tensor  # (P, 4) in pixels of the network's input
    phrases: list[list[PhraseTarget]]  # of each of the P regions; may be empty
    proposals: Tensor | None = None  # (R, 4) boxes to learn from in place of the network's own
    boxed: bool = True  # False: its phrases are learned, but not where anything is


class Sample(NamedTuple):
    """Boxes of one photo that a step recognises."""

    boxes: Tensor  # (S, 4), clipped; the gradient flows into them
    region: Tensor  # (S,) int64, the annotated region that each covers most
    positive: Tensor  # (S,) bool


Region = tuple[int, int]  # photo of the batch, region of the photo


def positives_of(batch: Sequence[Sample]) -> Iterator[tuple[int, Region]]:
    """Rows of the positives among the sampled boxes, photo by photo, and the region that each
    covers most."""
    start = 0
    for photo, own in enumerate(batch):
        for index in own.positive.nonzero().squeeze(1).tolist():
            yield start + index, (photo, int(own.region[index]))
        start += len(own.boxes)
