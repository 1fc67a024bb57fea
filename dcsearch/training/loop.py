"""Training an FCLN end to end: one loop, resumable to the step (paper section 3.3, modernised)."""

import contextlib
import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.errors import DataError, UsageError
from dcsearch.evaluation.proposals import proposals_of_file
from dcsearch.model.checkpoint import load_checkpoint, save_checkpoint
from dcsearch.model.fcln import FCLN, Target
from dcsearch.training.backbone_weights import load_backbone
from dcsearch.training.best import Best
from dcsearch.training.landmarks import keep_landmarks, sample_landmarks
from dcsearch.training.optimizers import make_optimizers, pretrained_parameters, share_of_rate
from dcsearch.training.options import TrainingOptions
from dcsearch.training.part import NAMES, Part
from dcsearch.training.photos import (
    Batches,
    TrainingPhotos,
    collate,
    errors_in_one_sentence,
    place,
    texts_of,
)
from dcsearch.training.probes import keep_probes
from dcsearch.training.refine import RefiningProgress, refine
from dcsearch.training.run_folder import RunFolder
from dcsearch.training.splits import read_split
from dcsearch.training.start import start_from, told_of_start
from dcsearch.training.team import Team
from dcsearch.training.validation import Validation
from dcsearch.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """What a line about the run can say after a step."""

    step: int  # steps done
    steps: int
    epoch: float
    loss: float  # weighted total, mean since the last report
    seconds_per_step: float
    seconds_left: float
    validation: dict[str, float] | None  # when this step validated
    best_step: int = 0  # with the best validation so far, where that may end the run
    ended_early: bool = False  # it was the last step, for the validations get no better


def train(
    data: Path,
    output: Path,
    options: TrainingOptions,
    *,
    resume: bool = False,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    on_refining: Callable[[RefiningProgress], None] | None = None,
) -> Path:
    """Train on the photos of a dataset's train split, validate on its val split if it has one.

    `output` receives metrics.jsonl, state.pt (for resuming) and model.safetensors, the averaged
    weights so far, at the end those that are kept; best.safetensors too, where validations may end
    the run. A run that is interrupted and resumed computes what an uninterrupted one would.

    Started by torchrun, processes share each step: see docs/training.md. Only the first writes and
    reports.

    Args:
        data: folder with train.jsonl or with the files of a dataset, or a JSON-lines file.
        output: folder of the run.
        options: the same ones when resuming, but for those in `options.PASSING`.
        resume: go on with the run in `output`.
        on_progress: told every 10 steps and after every validation.
        on_refining: told of the refining that may follow the last step.

    Returns:
        Path of the checkpoint.

    Raises:
        DataError: the data are missing or malformed.
        UsageError: `output` holds a run and `resume` is not set, or none and it is; or the options
            cannot be followed here.
        CheckpointError: the weights to begin with are missing, damaged or another network's.
        KeyboardInterrupt: passed on, after the state has been saved.
    """
    with Team(options.device) as team:
        run = _Run(data, output, options.shared_by(team.size), team, resume=resume)
        try:
            return run.go(on_progress or _silent, on_refining or _silent)
        except KeyboardInterrupt:
            with team.uninterrupted():
                run.save()
            raise


def _silent(progress: TrainingProgress | RefiningProgress) -> None:
    """Tells nobody."""


class _Run:
    """One training run: what it learns, and the files it keeps."""

    def __init__(
        self, data: Path, output: Path, options: TrainingOptions, team: Team, *, resume: bool
    ) -> None:
        self.data, self.options, self.team = data, options, team
        self.device = team.device
        flat = self.device.type == "cuda" and not options.channels_last
        self.form = torch.contiguous_format if flat else torch.channels_last
        photos = self._read("train")
        if not photos:
            what = "captions" if options.config.method == "full_image_rnn" else "regions"
            raise DataError(f"{data} holds no photo with {what}; nothing can be learned from it")
        self.folder = RunFolder(output, resume=resume)
        written = (self.folder.checkpoint.resolve(), self.folder.best.resolve())
        if options.start and options.start.resolve() in written:
            raise UsageError(f"the run would write over {options.start}; name another folder")
        start = load_checkpoint(options.start) if options.start else None
        self.start_sha256 = start.sha256 if start else None
        self.vocabulary = (
            start.vocabulary
            if start
            else Vocabulary.count(_texts(photos), at_least=options.word_count)
        )
        watched = self._read("val") if team.first else []
        self.validation = Validation(
            watched, options, self.vocabulary, device=self.device, form=self.form
        )
        can_end = options.config.method == "fcln" and (watched or not team.first)
        if options.patience and not can_end:
            raise UsageError(
                "only photos to validate on, and a network that finds regions in them, can end a "
                "training early; add val.jsonl, or give --patience 0"
            )
        torch.manual_seed(options.seed)
        self.model = FCLN(options.config, words=len(self.vocabulary))
        if start:
            start_from(self.model, start)
        elif options.pretrained and not resume:
            load_backbone(self.model, options.backbone_weights)
        self.model.backbone.freeze(options.backbone_blocks_frozen)
        self.model.to(self.device)
        self.model.backbone.to(memory_format=self.form)
        self.average = {
            key: value.detach().clone() for key, value in self.model.state_dict().items()
        }
        self.optimizers = make_optimizers(self.model, options)
        groups = [group for own in self.optimizers.values() for group in own.param_groups]
        self.learning: list[Tensor] = [p for group in groups for p in group["params"]]
        names: dict[Tensor, str] = {p: name for name, p in self.model.named_parameters()}
        self.averaged = [self.average[names[p]] for p in self.learning]
        self.pretrained = [p for p in pretrained_parameters(self.model) if p.requires_grad]
        self.photos = TrainingPhotos(
            photos,
            config=options.config,
            vocabulary=self.vocabulary,
            seed=options.seed,
            vary=options.variation != "none",
            flips_only=options.variation == "flips",
            proposals=proposals_of_file(options.proposals) if options.proposals else None,
        )
        self.part: nn.Module | None = None
        self.pretrained_learn = True
        self.step = 0
        self.seconds = 0.0  # of training so far, over all sittings
        self.best = Best()
        if resume:
            self.load()
        self.model.backbone.fold(options.backbone_blocks_frozen)
        self.provenance: dict[str, Any] = {
            "photos": len(photos),
            "regions": sum(len(photo.regions) for photo in photos),
            "phrases": sum(1 for _ in _texts(photos)),
            "options": {k: v for k, v in options.to_json().items() if k != "config"},
        }
        if start:
            self.provenance["began_with"] = told_of_start(start)
        if team.first:
            output.mkdir(parents=True, exist_ok=True)

    def _read(self, split: str) -> list[AnnotatedPhoto]:
        """Photos as the network's method sees them."""
        whole = self.options.config.method == "full_image_rnn"
        return read_split(self.data, split, limit=self.options.limit, whole=whole)

    def go(
        self,
        report: Callable[[TrainingProgress], None],
        report_refining: Callable[[RefiningProgress], None],
    ) -> Path:
        """Train to the last step, or to that after which validations get no better."""
        options, team = self.options, self.team
        saved = told = time.monotonic()
        losses: dict[str, float] = {}
        counted = 0
        for parts in () if self.ended_early else self._steps():
            progress = None
            with team.uninterrupted():
                began = time.monotonic()
                for name, value in self._learn(parts).items():
                    losses[name] = losses.get(name, 0.0) + value
                counted += 1
                self.step += 1
                self.seconds += time.monotonic() - began
                last = self.step == options.steps
                validation, ended = None, False
                if self.step % options.validate_every == 0 or last:
                    validation = self.validate() if team.first else {}
                    ended = team.any(self.ended_early)
                if self.step % 10 == 0 or validation is not None or last:
                    pace = (time.monotonic() - told) / counted
                    means = {name: value / counted for name, value in losses.items()}
                    self._log({"step": self.step, "seconds_per_step": round(pace, 3), **means})
                    if validation:
                        self._log({"step": self.step, "validation": validation})
                    progress = self._progress(means["total"], pace, validation, ended)
                    losses, counted, told = {}, 0, time.monotonic()
                if time.monotonic() - saved > 60 * options.checkpoint_minutes:
                    self.save()
                    saved = time.monotonic()
            if progress and team.first:
                report(progress)
            if ended:
                break
        with team.uninterrupted():
            self.save()
            self._finish()
        self._refine(report_refining)
        return self.folder.checkpoint

    def _progress(
        self, loss: float, pace: float, validation: dict[str, float] | None, ended: bool
    ) -> TrainingProgress:
        options = self.options
        return TrainingProgress(
            step=self.step,
            steps=options.steps,
            epoch=self._epoch(),
            loss=loss,
            seconds_per_step=pace,
            seconds_left=0.0 if ended else pace * (options.steps - self.step),
            validation=validation,
            best_step=self.best.step,
            ended_early=ended,
        )

    def _epoch(self) -> float:
        """Epochs done, but for photos that wait for others of their shape."""
        return self.step * self.options.batch_size / len(self.photos)

    def _steps(self) -> Iterator[list[tuple[Tensor, list[Target]]]]:
        """This process's parts of every step that is left.

        Raises:
            DataError: a photo is missing or broken.
        """
        options = self.options
        each = options.parts // self.team.size
        batches = Batches(
            [self.photos.size(index) for index in range(len(self.photos))],
            batch=options.batch_size,
            seed=options.seed,
            start=self.step,
            steps=options.steps,
            parts=options.parts,
            own=range(self.team.rank * each, (self.team.rank + 1) * each),
        )
        loader = DataLoader(
            self.photos,
            batch_sampler=batches,
            num_workers=options.workers,
            collate_fn=collate,
            prefetch_factor=4 if options.workers else None,
            multiprocessing_context="fork" if options.workers else None,
        )
        with errors_in_one_sentence():
            opened = iter(loader)
            while parts := list(islice(opened, each)):
                yield parts

    def _learn(self, parts: Sequence[tuple[Tensor, list[Target]]]) -> dict[str, float]:
        """One step: the gradient is the mean of the parts', those of other processes included.

        Every draw in it is seeded by the step's and the part's number.
        """
        options = self.options
        shared = self._shared_part()
        self.model.train()
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        values = torch.zeros(len(NAMES), device=self.device)
        for number, batch in enumerate(parts):
            part = self.team.rank * len(parts) + number
            torch.manual_seed(options.seed * 1_000_003 + self.step + (part << 40))
            pixels, targets = place(*batch, self.device, self.form)
            last = number == len(parts) - 1
            with contextlib.nullcontext() if last else self.team.apart(shared):
                total, own = shared(pixels, targets)
                torch.autograd.backward(total / len(parts))
            values += own / len(parts)
        losses = dict(zip(NAMES, self.team.mean(values).tolist(), strict=True))
        if not math.isfinite(losses["total"]):
            raise FloatingPointError(f"the loss became {losses['total']} at step {self.step}")
        longest = options.gradient_norm or math.inf
        losses["gradient_norm"] = nn.utils.clip_grad_norm_(self.learning, longest).item()
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * share_of_rate(self.step, options)
            optimizer.step()
        decay = min(options.averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.averaged, self.learning, 1 - decay)
        return losses

    def _shared_part(self) -> nn.Module:
        """What turns photos into losses, made anew when the pretrained layers begin to learn."""
        learn = self._epoch() >= self.options.backbone_after
        if self.part is None or learn != self.pretrained_learn:
            for parameter in self.pretrained:
                parameter.requires_grad_(learn)
            self.pretrained_learn = learn
            self.part = None  # before the next: both would listen to the same gradients
            config = self.options.config
            # The contrast of a part without phrases, and what proposes where nothing is proposed.
            idle = config.embedding_size > 0 or config.method != "fcln" or self.photos.proposals
            part = Part(self.model, bfloat16=self.options.bfloat16)
            self.part = self.team.share(part, some_idle=bool(idle))
        return self.part

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[FCLN]:
        """The network with its averaged weights while it lasts, in evaluation mode."""
        own = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        try:
            yield self.model.eval()
        finally:
            self.model.load_state_dict(own)

    def validate(self) -> dict[str, float]:
        """Validation figures of the averaged weights; empty without validation photos.

        The best weights are kept as a file, where validations may end the run.
        """
        with self._averaged() as model:
            figures = self.validation.figures(model)
            if self.options.patience and self.best.judge(figures[self.options.stop_by], self.step):
                self._save_checkpoint(model, self.folder.best)
        return figures

    @property
    def ended_early(self) -> bool:
        """Whether the validations have got no better for too long."""
        return 0 < self.options.patience <= self.best.since

    def save(self) -> None:
        """Write the state and the checkpoint, each replaced only when whole."""
        if not self.team.first:
            return
        self.folder.write_state(
            {
                "step": self.step,
                "seconds": self.seconds,
                "model": self.model.state_dict(),
                "average": self.average,
                **{name: own.state_dict() for name, own in self.optimizers.items()},
                "best": dataclasses.asdict(self.best),
                "words": list(self.vocabulary.words),
                "start": self.start_sha256,
                "options": json.dumps(self.options.lasting()),
            }
        )
        with self._averaged() as model:
            self._save_checkpoint(model, self.folder.checkpoint)

    def _finish(self) -> None:
        """Write the weights to keep once more, with landmarks and probes; the run itself stays as
        it is."""
        if not self.team.first:
            return
        model, step = copy.deepcopy(self.model), self.step
        model.load_state_dict(self.average)
        if self.options.patience and self.best.step:
            model, step = load_checkpoint(self.folder.best).model.to(self.device), self.best.step
        photos = self.photos.photos
        keep_landmarks(model, sample_landmarks(model.eval(), photos, seed=self.options.seed))
        keep_probes(model, self.vocabulary, photos, seed=self.options.seed)
        self._save_checkpoint(model, self.folder.checkpoint, step=step)

    def _refine(self, report: Callable[[RefiningProgress], None]) -> None:
        """Refine the weights to keep, where the recipe ends so; resuming does it again."""
        options = self.options
        if options.refining and self.team.first:
            how = dataclasses.replace(
                options.refining, seed=options.seed, workers=options.workers, device=options.device
            )
            final = load_checkpoint(self.folder.checkpoint)
            refine(final, self.data, self.folder.checkpoint, how, on_progress=report)

    def _save_checkpoint(self, model: FCLN, path: Path, *, step: int | None = None) -> None:
        told = {"step": step or self.step, "seconds": round(self.seconds)}
        save_checkpoint(
            path,
            model,
            self.vocabulary,
            name=self.options.name,
            provenance={**self.provenance, **told},
        )

    def load(self) -> None:
        """Take up the saved state.

        Raises:
            UsageError: the state is damaged, or was made with other options or data.
        """
        state = self.folder.read_state(self.device)
        try:
            unlike = self.options.unlike(state["options"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self.folder.unreadable(error) from None
        if state.get("start", self.start_sha256) != self.start_sha256 and "start" not in unlike:
            unlike.append("start")  # another file of the same name
        if unlike or state["words"] != list(self.vocabulary.words):
            raise UsageError(
                f"the run in {self.folder.path} was started with other options or data"
                f"{' (' + ', '.join(unlike) + ')' if unlike else ''}; "
                "give the same, or start anew in another folder"
            )
        self.model.load_state_dict(state["model"])
        for key, value in state["average"].items():
            self.average[key].copy_(value)  # in place: `averaged` looks at the same tensors
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[name])
        self.best = Best(**state.get("best", {}))
        self.step, self.seconds = state["step"], state["seconds"]
        if self.team.first:
            self.folder.forget_metrics_after(self.step)

    def _log(self, values: dict[str, Any]) -> None:
        if self.team.first:
            self.folder.log(values)


def _texts(photos: Sequence[AnnotatedPhoto]) -> Iterator[str]:
    """Every phrase of the photos."""
    return (text for photo in photos for own in texts_of(photo) for text in own)
