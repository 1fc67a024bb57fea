"""Validation: figures of a network on annotated photos that it does not learn from."""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.ops import box_iou

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.describe import Describer
from dcsearch.evaluation.captions import Meteor as Scorer
from dcsearch.evaluation.captions import evaluate_captions
from dcsearch.evaluation.described import describe_annotated
from dcsearch.evaluation.meteor import Meteor
from dcsearch.model.fcln import FCLN
from dcsearch.model.language import pad_tokens
from dcsearch.training.objective import Objective
from dcsearch.training.options import TrainingOptions
from dcsearch.training.photos import TrainingPhotos, collate, errors_in_one_sentence, place
from dcsearch.training.targets import Target
from dcsearch.vocabulary import Vocabulary

_BATCH = 16  # photos at a time, or those of a part of a step where they are fewer


@dataclass
class Best:
    """The best validation of a run so far, by a figure of which more is better."""

    figure: float | None = None
    step: int = 0  # that reached it; 0: none has
    since: int = 0  # validations after it

    def judge(self, figure: float, step: int) -> bool:
        """Take in a validation; whether it is better than all before."""
        better = self.figure is None or figure > self.figure
        if better:
            self.figure, self.step, self.since = figure, step, 0
        else:
            self.since += 1
        return better


class Batched(Protocol):
    """Photos and targets, in batches."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, list[Target]]]: ...


class Opened:
    """Photos as the network sees them, in batches of one shape, opened anew for each pass."""

    def __init__(
        self, photos: TrainingPhotos, *, batch: int, workers: int, device: torch.device,
        form: torch.memory_format,
    ) -> None:  # fmt: skip
        """Take the photos.

        Args:
            photos: any number.
            batch: photos at a time, at the most.
            workers: processes that open photos.
            device: where batches go.
            form: of their pixels.
        """
        by_size: dict[tuple[int, int], list[int]] = {}
        for index in range(len(photos)):
            by_size.setdefault(photos.size(index), []).append(index)
        self.device, self.form = device, form
        self.loader = DataLoader(
            photos,
            batch_sampler=[
                indices[first : first + batch]
                for indices in by_size.values()
                for first in range(0, len(indices), batch)
            ],
            num_workers=workers,
            collate_fn=collate,
            multiprocessing_context="fork" if workers else None,
            generator=torch.Generator(),  # its own draws, which move no others
        )

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, list[Target]]]:
        with errors_in_one_sentence():
            for pixels, targets in self.loader:
                yield place(pixels, targets, self.device, self.form)


class Validation:
    """The photos that a run is measured on, spread over those of the split, and the figures."""

    def __init__(
        self,
        photos: Sequence[AnnotatedPhoto],
        options: TrainingOptions,
        vocabulary: Vocabulary,
        *,
        device: torch.device,
        form: torch.memory_format,
    ) -> None:
        """Take the photos, and make sure, before the first step, of what the figures need.

        Args:
            photos: all that may be used; none gives no figures.
            options: of the run.
            vocabulary: of the network.
            device: where the network is.
            form: of the pixels that it sees.

        Raises:
            DataError: a photo is missing or broken.
            UsageError: METEOR's Java or package is wanted and not there.
        """
        apart = max(1, len(photos) // options.validation_photos)
        self.photos = photos[::apart][: options.validation_photos]
        self.options, self.vocabulary, self.device = options, vocabulary, device
        self.batch = min(_BATCH, options.batch_size // options.parts)
        inputs = TrainingPhotos(
            self.photos, config=options.config, vocabulary=vocabulary, seed=0, vary=False
        )
        self.batches = Opened(
            inputs, batch=self.batch, workers=options.workers, device=device, form=form
        )
        if options.patience and options.stop_by == "mAP":
            Meteor().close()
        for _ in self.batches:
            pass

    def figures(self, objective: Objective) -> dict[str, float]:
        """Mean losses, the figures of `localization` and, where it may end the run, mAP.

        Empty without photos. The objective is in evaluation mode; its weights stay as they are.
        """
        if not self.photos:
            return {}
        options, model = self.options, objective.network
        with torch.autocast(self.device.type, torch.bfloat16, enabled=options.bfloat16):
            figures = mean_losses(objective, self.batches, seed=0)
            if options.config.localizes:
                figures |= localization(model, self.batches)
        if options.patience and options.stop_by != "localization":
            with contextlib.ExitStack() as stack:
                meteor = stack.enter_context(Meteor()) if options.stop_by == "mAP" else None
                figures |= self._precision(model, meteor)
        return figures

    def _precision(self, model: FCLN, meteor: Meteor | None) -> dict[str, float]:
        checkpoint = Checkpoint(
            name=self.options.name, sha256="", config=model.config, vocabulary=self.vocabulary,
            provenance={}, model=copy.deepcopy(model),  # for a describer folds its network
        )  # fmt: skip
        describer = Describer(checkpoint, device=self.device.type, bfloat16=self.options.bfloat16)
        return mean_average_precision(self.photos, describer, meteor=meteor, batch=self.batch)


def mean_average_precision(
    photos: Sequence[AnnotatedPhoto], describer: Describer, *, meteor: Scorer | None, batch: int
) -> dict[str, float]:
    """What `evaluate_captions` makes of the describer's network on the photos.

    Returns:
        "detection mAP", 0 to 1, of boxes alone; with METEOR, "mAP" too.

    Raises:
        DataError: no photo has a region with a phrase, or one cannot be opened.
    """
    captions = (
        meteor is not None or describer.checkpoint.config.language.joint_inference
    )  # they move boxes
    described = describe_annotated(photos, describer, captions=captions, batch=batch)
    report = evaluate_captions(
        photos, list(described), describer.checkpoint, meteor=meteor or _without_words
    )
    values = report.tables[0].rows[0].values
    wanted = ("detection mAP",) if meteor is None else ("detection mAP", "mAP")
    return {name: values[name].value for name in wanted}


def _without_words(asked: Sequence[tuple[str, Sequence[str]]]) -> list[float]:
    return [0.0] * len(asked)


@torch.no_grad()
def localization(model: FCLN, batches: Batched, *, regions: int = 100) -> dict[str, float]:
    """Recall of annotated boxes among the best regions, and of phrases aligned in their own photo.

    Args:
        model: in evaluation mode.
        batches: photos and targets.
        regions: the best of each photo, so many.

    Returns:
        `recall@R`: share of annotated boxes that some region covers at IoU .5. `localization`:
        share of phrases whose likeliest region covers their box at IoU .5. 0 without phrases.
    """
    covered = boxes = found = phrases = 0
    for pixels, targets in batches:
        for found_regions, target in zip(model(pixels, most=regions), targets, strict=True):
            if len(target.boxes) == 0 or len(found_regions.boxes) == 0:
                continue
            overlap = box_iou(
                found_regions.boxes, target.boxes.to(found_regions.boxes.device)
            )  # (N, P)
            covered += int((overlap.max(dim=0).values >= 0.5).sum())
            boxes += len(target.boxes)
            regions_of = [index for index, own in enumerate(target.phrases) for _ in own]
            tokens = [phrase.tokens for own in target.phrases for phrase in own]
            if not tokens:
                continue
            scores = model.language.cross_log_likelihoods(
                found_regions.encoded, pad_tokens(tokens).to(pixels.device)
            )
            best = scores.argmax(dim=0)  # (M,)
            found += int((overlap[best, regions_of] >= 0.5).sum())
            phrases += len(tokens)
    return {
        f"recall@{regions}": covered / max(boxes, 1),
        "localization": found / max(phrases, 1),
    }


@torch.no_grad()
def mean_losses(objective: Objective, batches: Batched, *, seed: int) -> dict[str, float]:
    """Each loss term and the weighted total, mean over the batches; the draws are seeded."""
    totals: dict[str, float] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for pixels, targets in batches:
            losses = objective.losses(pixels, targets)
            values = {**losses._asdict(), "total": objective.total(losses)}
            for name, value in values.items():
                totals[name] = totals.get(name, 0.0) + value.item() / len(batches)
    return totals
