"""Training a network end to end, resumable to the step (paper section 3.3, modernised)."""

import contextlib
import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dcsearch.checkpoint.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.errors import Cure, UsageError
from dcsearch.model.fcln import FCLN
from dcsearch.training.average import WeightAverage
from dcsearch.training.distributed import Team
from dcsearch.training.landmarks import keep_landmarks, sample_landmarks
from dcsearch.training.loading import TrainingLoader, read_photos
from dcsearch.training.objective import NAMES
from dcsearch.training.optimizers import make_optimizers, pretrained_parameters, share_of_rate
from dcsearch.training.options import TrainingOptions
from dcsearch.training.photos import texts_of
from dcsearch.training.probes import keep_probes
from dcsearch.training.progress import Means, TrainingProgress
from dcsearch.training.refine import RefiningProgress, refine
from dcsearch.training.run_folder import RunFolder
from dcsearch.training.splits import WeightedData, weighted
from dcsearch.training.start import begin, load_start, provenance_of_start, start_vocabulary
from dcsearch.training.validation import Best, Validation


def train(
    data: Path | Sequence[WeightedData],
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
        data: folder with train.jsonl or with the files of a dataset, or a JSON-lines file; or
            several, with weights.
        output: folder of the run.
        options: the same ones when resuming, but for those in `options.PASSING`.
        resume: continue the run in `output`.
        on_progress: called every 10 steps and after every validation.
        on_refining: called during the refining that may follow the last step.

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
        every = weighted(data)
        run = _Run(every, output, options.shared_by(team.size), team, resume=resume)
        try:
            return run.go(on_progress or _silent, on_refining or _silent)
        except KeyboardInterrupt:
            with team.uninterrupted():
                run.save()
            raise


def _silent(progress: TrainingProgress | RefiningProgress) -> None:
    """Does nothing."""


class _Run:
    """One training run: what it learns, and the files it keeps."""

    def __init__(
        self, data: Sequence[WeightedData], output: Path, options: TrainingOptions, team: Team, *,
        resume: bool,
    ) -> None:  # fmt: skip
        self.data, self.options, self.team = data, options, team
        self.device = team.device
        flat = self.device.type == "cuda" and not options.channels_last
        self.form = torch.contiguous_format if flat else torch.channels_last
        self.folder = RunFolder(output, resume=resume)
        state = self.folder.read_state(self.device) if resume else None
        # A run of a version that left photos without regions out goes on without them.
        self.scenes = state is None or bool(state.get("scenes"))
        parts = read_photos(data, "train", options, scenes=self.scenes)
        photos = [photo for part in parts for photo in part]
        start = load_start(options, (self.folder.checkpoint, self.folder.best))
        self.start_sha256 = start.sha256 if start else None
        self.vocabulary = start_vocabulary(options, start, _texts(photos))
        self.validation = self._make_validation()
        self.objective = begin(options, start, words=len(self.vocabulary), resume=resume)
        self.network = self.objective.network
        self.network.backbone.freeze(options.backbone_blocks_frozen)
        self.objective.to(self.device)
        self.network.backbone.to(memory_format=self.form)
        self.optimizers = make_optimizers(self.objective, options)
        groups = [group for own in self.optimizers.values() for group in own.param_groups]
        self.learning: list[Tensor] = [p for group in groups for p in group["params"]]
        self.average = WeightAverage(self.objective, self.learning)
        self.pretrained = [p for p in pretrained_parameters(self.network) if p.requires_grad]
        self.loader = TrainingLoader(
            data, parts, options, self.vocabulary, team=team, form=self.form
        )
        self.drawn_from = [
            {"photos": len(part), "weight": of.weight} for of, part in zip(data, parts, strict=True)
        ]
        self.shared: nn.Module | None = None
        self.pretrained_learn = True
        self.step = 0
        self.seconds = 0.0  # of training so far, over all sittings
        self.best = Best()
        self.best_head: dict[str, Tensor] | None = None  # the word head of the best validation
        if state is not None:
            self.load(state)
            del state  # as large as the network and its optimizers
        self.network.backbone.fold(options.backbone_blocks_frozen)
        self.loader.open_cache(self.network.backbone)
        self.provenance = self._provenance(photos, start)
        if team.first:
            output.mkdir(parents=True, exist_ok=True)

    def _make_validation(self) -> Validation:
        """The validation of the first process; the others have no photos for it.

        Raises:
            UsageError: validations are to end the run, and cannot.
        """
        options, first = self.options, self.team.first
        every = read_photos(self.data, "val", options, scenes=False) if first else []
        photos = [photo for part in every for photo in part]
        validation = Validation(
            photos, options, self.vocabulary, device=self.device, form=self.form
        )
        can_end = options.config.localizes and (photos or not first)
        if options.patience and not can_end:
            raise UsageError(
                "only photos to validate on, and a network that finds regions in them, can end a "
                "training early",
                Cure.ADD_VALIDATION,
            )
        return validation

    def _provenance(
        self, photos: Sequence[AnnotatedPhoto], start: Checkpoint | None
    ) -> dict[str, Any]:
        """What checkpoints of the run record of it."""
        options = self.options.to_json()
        del options["config"]
        found: dict[str, Any] = {
            "photos": len(photos),
            "regions": sum(len(photo.regions) for photo in photos),
            "phrases": sum(1 for _ in _texts(photos)),
            "options": options,
        }
        if len(self.data) > 1:
            found["data"] = self.drawn_from
        return {**found, "began_with": provenance_of_start(start)} if start else found

    def go(
        self,
        report: Callable[[TrainingProgress], None],
        report_refining: Callable[[RefiningProgress], None],
    ) -> Path:
        """Train to the last step, or to that after which validations get no better."""
        team = self.team
        means = Means()
        saved = time.monotonic()
        for parts in () if self.ended_early else self.loader.steps(self.step):
            progress = None
            with team.uninterrupted():
                began = time.monotonic()
                means.add(self._learn(parts))
                self.step += 1
                self.seconds += time.monotonic() - began
                validation = self._validate_when_due()
                ended = validation is not None and team.any(self.ended_early)
                if self.step % 10 == 0 or validation is not None:
                    progress = self._log_progress(means, validation, ended)
                    means = Means()
                if time.monotonic() - saved > 60 * self.options.checkpoint_minutes:
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

    def _validate_when_due(self) -> dict[str, float] | None:
        """Figures after the last step and every `validate_every`; None after others. Empty in all
        processes but the first."""
        if self.step % self.options.validate_every and self.step != self.options.steps:
            return None
        return self.validate() if self.team.first else {}

    def _log_progress(
        self, means: Means, validation: dict[str, float] | None, ended: bool
    ) -> TrainingProgress:
        options, pace, losses = self.options, means.seconds_per_step(), means.values()
        self._log({"step": self.step, "seconds_per_step": round(pace, 3), **losses})
        if validation:
            self._log({"step": self.step, "validation": validation})
        return TrainingProgress(
            step=self.step,
            steps=options.steps,
            epoch=self._epoch(),
            loss=losses["total"],
            seconds_per_step=pace,
            seconds_left=0.0 if ended else pace * (options.steps - self.step),
            validation=validation,
            best_step=self.best.step,
            ended_early=ended,
        )

    def _epoch(self) -> float:
        """Epochs done, but for photos that wait for others of their shape."""
        return self.step * self.options.batch_size / self.loader.photos_per_epoch

    def _learn(self, parts: Sequence[Any]) -> dict[str, float]:
        """One step: the gradient is the mean of the parts', those of other processes included.

        Every draw in it is seeded by the step's and the part's number.
        """
        options = self.options
        shared = self._shared_objective()
        self.objective.train()
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        values = torch.zeros(len(NAMES), device=self.device)
        for number, batch in enumerate(parts):
            part = self.team.rank * len(parts) + number
            torch.manual_seed(options.seed * 1_000_003 + self.step + (part << 40))
            photos, targets = self.loader.place(batch)
            last = number == len(parts) - 1
            with contextlib.nullcontext() if last else self.team.apart(shared):
                with self._autocast():
                    total, own = shared(photos, targets)
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
        self.average.update(self.step, decay=options.averaging)
        return losses

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.bfloat16)

    def _shared_objective(self) -> nn.Module:
        """The objective, shared with the other processes anew when the pretrained layers begin to
        learn."""
        learn = self._epoch() >= self.options.backbone_after
        if self.shared is None or learn != self.pretrained_learn:
            for parameter in self.pretrained:
                parameter.requires_grad_(learn)
            self.pretrained_learn = learn
            self.shared = None  # before the next: both would listen to the same gradients
            config = self.options.config
            # The contrast of a part without phrases, and what proposes where nothing is proposed.
            embeds = config.embedding.embedding_size > 0
            idle = embeds or not config.localizes or self.options.proposals is not None
            self.shared = self.team.share(self.objective, some_idle=idle)
        return self.shared

    def validate(self) -> dict[str, float]:
        """Validation figures of the averaged weights; empty without validation photos.

        The best weights are kept as a file, where validations may end the run.
        """
        with self.average.applied() as objective:
            figures = self.validation.figures(objective)
            if self.options.patience and self.best.judge(figures[self.options.stop_by], self.step):
                self._save_checkpoint(objective.network, self.folder.best)
                self.best_head = self._average_head()
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
                "model": self.objective.weights(),
                "average": self.average.weights,
                **{name: own.state_dict() for name, own in self.optimizers.items()},
                "best": dataclasses.asdict(self.best),
                "best_head": self.best_head,
                "words": list(self.vocabulary.words),
                "start": self.start_sha256,
                "scenes": self.scenes,
                "data": self.drawn_from,
                "options": json.dumps(self.options.lasting()),
            }
        )
        with self.average.applied() as objective:
            self._save_checkpoint(objective.network, self.folder.checkpoint)

    def _finish(self) -> None:
        """Write the weights to keep once more, with landmarks and probes; the run itself stays as
        it is."""
        if not self.team.first:
            return
        if self.options.patience and self.best.step:
            model, step = load_checkpoint(self.folder.best).model.to(self.device), self.best.step
        else:
            model, step = copy.deepcopy(self.network), self.step
            own = {key: self.average.weights[key] for key in model.state_dict()}
            model.load_state_dict(own)
        photos = self.loader.photos.photos
        keep_landmarks(model, sample_landmarks(model.eval(), photos, seed=self.options.seed))
        keep_probes(model, self.vocabulary, photos, seed=self.options.seed)
        self._save_checkpoint(model, self.folder.checkpoint, step=step)

    def _average_head(self) -> dict[str, Tensor]:
        """A copy of the averaged weights of the word head, by their names in `average`."""
        weights = self.average.weights
        return {key: weights[key].clone() for key in weights if key.startswith("words.")}

    def _refine(self, report: Callable[[RefiningProgress], None]) -> None:
        """Refine the weights to keep, where the recipe ends so; resuming does it again."""
        options = self.options
        if options.refining and self.team.first:
            how = dataclasses.replace(
                options.refining, seed=options.seed, workers=options.workers, device=options.device
            )
            head = self.best_head if options.patience and self.best.step else None
            head = self._average_head() if head is None else head
            final = dataclasses.replace(
                load_checkpoint(self.folder.checkpoint),
                # As precise as the weights that the file has.
                word_head={key: own.cpu().half().float() for key, own in head.items()},
            )
            refine(final, self.data[0].path, self.folder.checkpoint, how, on_progress=report)

    def _save_checkpoint(self, model: FCLN, path: Path, *, step: int | None = None) -> None:
        when = {"step": step or self.step, "seconds": round(self.seconds)}
        save_checkpoint(
            path,
            model,
            self.vocabulary,
            name=self.options.name,
            provenance={**self.provenance, **when},
        )

    def load(self, state: dict[str, Any]) -> None:
        """Continue from the saved state.

        Raises:
            UsageError: the state is damaged, or was made with other options or data.
        """
        try:
            unlike = self.options.unlike(state["options"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self.folder.unreadable(error) from None
        if state.get("start", self.start_sha256) != self.start_sha256 and "start" not in unlike:
            unlike.append("start")  # another file of the same name
        same_data = state.get("data", self.drawn_from) == self.drawn_from
        if unlike or not same_data or state["words"] != list(self.vocabulary.words):
            raise UsageError(
                f"the run in {self.folder.path} was started with other options or data"
                f"{' (' + ', '.join(unlike) + ')' if unlike else ''}; "
                "give the same, or start anew in another folder"
            )
        self.objective.load_weights(state["model"])
        self.average.load(state["average"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[name])
        self.best, self.best_head = Best(**state.get("best", {})), state.get("best_head")
        self.step, self.seconds = state["step"], state["seconds"]
        if self.team.first:
            self.folder.forget_metrics_after(self.step)

    def _log(self, values: dict[str, Any]) -> None:
        if self.team.first:
            self.folder.log(values)


def _texts(photos: Sequence[AnnotatedPhoto]) -> Iterator[str]:
    """Every phrase of the photos."""
    return (text for photo in photos for own in texts_of(photo) for text in own)
