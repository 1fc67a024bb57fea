"""The pace of a run: how its photos are described, as was measured here or as is usual."""

from collections.abc import Callable
from dataclasses import dataclass

from dcsearch.pace import USUAL_BATCH, Pace, describing_time, measured_pace
from dcsearch.threads import computing_on, threads_are_given
from indexer.models.loaded import LoadedModel
from indexer.models.pace_file import TRIED_FROM, keep_pace, kept_pace


@dataclass(frozen=True, kw_only=True)
class ChosenPace:
    """How photos are to be described, and the same for people; empty for a GPU."""

    pace: Pace
    told: str


def chosen_pace(
    model: LoadedModel,
    photos: int,
    *,
    batch_size: int | None,
    timed: Callable[[Pace, int], float] | None = None,
) -> ChosenPace:
    """How to describe so many photos.

    On a CPU it is what was found to be fastest; where that is not known yet, it is measured if
    there are many photos. Where the user has said how many threads, or photos at a time, nothing is
    measured, and only the precision is as it was found. It is always the precision that the model's
    describer has from then on.

    Args:
        batch_size: photos that are described together, if the user has said so.
        timed: measures a pace; None: by describing.

    Raises:
        CheckpointError: the weights are damaged.
        UsageError: the device is not there.
    """
    import torch

    describer = model.describer()
    usual = Pace(
        threads=torch.get_num_threads(),
        bfloat16=describer.bfloat16,
        batch_size=USUAL_BATCH if batch_size is None else batch_size,
    )
    if describer.device.type != "cpu":
        return ChosenPace(pace=usual, told="")
    if batch_size is not None or threads_are_given():
        return ChosenPace(pace=usual, told=str(usual))
    kept = kept_pace(model.header.sha256)
    if kept is None and photos >= TRIED_FROM:
        try:
            with computing_on(usual.threads):
                kept = measured_pace(
                    usual, timed or describing_time(describer), precisions=usual.bfloat16
                )
        finally:  # also where it is cut short, for a server goes on with this describer
            describer.bfloat16 = usual.bfloat16
        keep_pace(model.header.sha256, kept)
    if kept is None:
        return ChosenPace(pace=usual, told=str(usual))
    describer.bfloat16 = kept.pace.bfloat16
    return ChosenPace(pace=kept.pace, told=str(kept.pace))
