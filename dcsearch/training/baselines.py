"""What the paper's baselines learn: captions of the annotated boxes, and no boxes."""

from collections.abc import Sequence

from dcsearch.model.backbone import Maps, maps_of
from dcsearch.training.objective import LocalizationTerms, Objective
from dcsearch.training.targets import PhraseTarget, Region, Sample, Target


class BaselineObjective(Objective):
    """The annotated boxes are all there is."""

    def localize(
        self, features: Maps, targets: Sequence[Target], *, width: int, height: int
    ) -> LocalizationTerms:
        """No losses and no sampled boxes."""
        nothing = maps_of(features)[0].new_zeros(())
        batch = [self.sampled(target, target.boxes[:0]) for target in targets]
        return LocalizationTerms(nothing, nothing, nothing, batch)


class FullImageObjective(BaselineObjective):
    """The one region of a photo learns all its captions in a step."""

    def describable(
        self, batch: Sequence[Sample], targets: Sequence[Target]
    ) -> tuple[list[int], list[Region]]:
        """Each row once for every caption."""
        rows, described = super().describable(batch, targets)
        times = [len(targets[photo].phrases[region]) for photo, region in described]
        return (
            [row for row, count in zip(rows, times, strict=True) for _ in range(count)],
            [own for own, count in zip(described, times, strict=True) for _ in range(count)],
        )

    def draw(self, described: Sequence[Region], targets: Sequence[Target]) -> list[PhraseTarget]:
        """All captions of each region in turn."""
        return [
            phrase
            for photo, region in dict.fromkeys(described)
            for phrase in targets[photo].phrases[region]
        ]
