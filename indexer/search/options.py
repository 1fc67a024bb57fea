"""SearchOptions: how much of an answer is wanted, and by which score."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcsearch.errors import UsageError
from dcsearch.scoring.formula import SCORES, Score
from indexer.search import limits


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How much of an answer is wanted.

    Attributes:
        top: photos at the most.
        per_image: boxes of each phrase in each photo at the most.
        photo_ids: only these photos; None: all.
        exact: score every region.
        explain: give the terms of every region's score.
        score: what a region's score for a phrase is made of, see `dcsearch.scoring.formula`; None
            is the model's default.
        literal: ask no other words than the phrases have.
        present: photos that are gone from the disk are no answers.
        unique: of photos with the same content only the first is an answer.
        every_region: give all regions of a photo for each phrase, also several boxes of one object.
    """

    top: int = 10
    per_image: int = 1
    photo_ids: NDArray[np.int64] | None = None
    exact: bool = False
    explain: bool = False
    score: Score | None = None
    literal: bool = False
    present: bool = False
    unique: bool = False
    every_region: bool = False

    def __post_init__(self) -> None:
        """Check the numbers; more than any index has photos is as good as all.

        Raises:
            UsageError: one is below 1, or there is no such score.
        """
        if self.top < 1 or self.per_image < 1:
            raise UsageError(
                f"top and per_image must be at least 1, got {self.top} and {self.per_image}"
            )
        for name in ("top", "per_image"):
            object.__setattr__(self, name, min(getattr(self, name), limits.MOST))
        if self.score is not None and self.score not in SCORES:
            raise UsageError(f"no score {self.score!r}; choose one of {', '.join(SCORES)}")

    def recorded(self) -> dict[str, Any]:
        """What the history keeps of the options, as JSON takes it."""
        return {
            "top": self.top,
            "per_image": self.per_image,
            "exact": self.exact,
            **({"score": self.score} if self.score else {}),
            **({"literal": True} if self.literal else {}),
            **({"unique": True} if self.unique else {}),
        }
