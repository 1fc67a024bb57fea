"""Training an FCLN end to end: one loop, resumable to the step (paper section 3.3, modernised)."""

import contextlib
import copy
import dataclasses
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dcsearch.data.regions import AnnotatedPhoto, read_regions
from dcsearch.device import choose_device
from dcsearch.errors import DataError, UsageError
from dcsearch.evaluation.proposals import proposals_of_file
from dcsearch.model.checkpoint import save_checkpoint
from dcsearch.model.fcln import FCLN, FCLNConfig, Target
from dcsearch.training.backbone_weights import load_backbone
from dcsearch.training.landmarks import keep_landmarks, sample_landmarks
from dcsearch.training.photos import Batches, TrainingPhotos, as_one_region, collate
from dcsearch.training.validation import localization, mean_losses
from dcsearch.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train; saved beside the run and, on resuming, required to be the same."""

    config: FCLNConfig = dataclasses.field(default_factory=FCLNConfig.small)
    proposals: Path | None = None  # JSON lines of boxes to learn from in place of the network's own
    backbone_weights: Path | None = None  # None: torchvision's own download
    backbone_blocks_frozen: int = 0
    steps: int = 2800
    batch_size: int = 16
    learning_rate: float = 8e-4
    recognition_learning_rate: float = 2e-4  # its thousands of inputs add up
    backbone_learning_rate: float = 2e-4  # of the pretrained layers
    weight_decay: float = 0.02
    warm_up: int = 150  # steps
    gradient_norm: float = 10.0
    averaging: float = 0.999  # decay of the running average of the weights, which is what is kept
    bfloat16: bool = True
    word_count: int = 3  # a word enters the vocabulary when seen this often
    validate_every: int = 500  # steps
    validation_photos: int = 200
    checkpoint_minutes: float = 4.0
    workers: int = 1
    seed: int = 0
    device: str = "auto"
    name: str = "fcln"

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the provenance."""
        values = dataclasses.asdict(self)
        values["backbone_weights"] = self.backbone_weights and self.backbone_weights.name
        values["proposals"] = self.proposals and self.proposals.name
        return values


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


def train(
    data: Path,
    output: Path,
    options: TrainingOptions,
    *,
    resume: bool = False,
    on_progress: Callable[[TrainingProgress], None] | None = None,
) -> Path:
    """Train on `data`/train.jsonl, validate on `data`/val.jsonl if it is there.

    `output` receives metrics.jsonl, state.pt (for resuming) and model.safetensors, the averaged
    weights so far. A run that is interrupted and resumed computes what an uninterrupted one would.

    Args:
        data: folder with train.jsonl, or a JSON-lines file.
        output: folder of the run.
        options: the same ones when resuming, but for `workers` and `device`.
        resume: go on with the run in `output`.
        on_progress: told every 10 steps and after every validation.

    Returns:
        Path of the checkpoint.

    Raises:
        DataError: the data are missing or malformed.
        UsageError: `output` holds a run and `resume` is not set, or none and it is.
        KeyboardInterrupt: passed on, after the state has been saved.
    """
    run = _Run(data, output, options, resume=resume)
    try:
        return run.go(on_progress or (lambda progress: None))
    except KeyboardInterrupt:
        with uninterrupted():
            run.save()
        raise


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the block is done, and then interrupt.

    Between two steps a run is whole; in the middle of one its parts belong to different steps.
    """
    ours = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not ours or before in (None, signal.SIG_IGN):
        yield
        return
    asked = False

    def remember(number: int, frame: object) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


class _Run:
    """One training run: what it learns, and the files it keeps."""

    def __init__(self, data: Path, output: Path, options: TrainingOptions, *, resume: bool) -> None:
        self.options, self.output = options, output
        self.device = choose_device(options.device)
        folder, file = (data, data / "train.jsonl") if data.is_dir() else (data.parent, data)
        photos = [photo for photo in self._read(file) if photo.regions]
        if not photos:
            what = "captions" if options.config.method == "full_image_rnn" else "regions"
            raise DataError(f"{file} holds no photo with {what}; nothing can be learned from it")
        self.state_file = output / "state.pt"
        if resume and not self.state_file.exists():
            raise UsageError(f"no training run in {output} to resume; start it without --resume")
        if not resume and self.state_file.exists():
            raise UsageError(
                f"{output} already holds a training run; go on with --resume or name another folder"
            )
        output.mkdir(parents=True, exist_ok=True)

        self.vocabulary = Vocabulary.count(_texts(photos), at_least=options.word_count)
        torch.manual_seed(options.seed)
        self.model = FCLN(options.config, words=len(self.vocabulary))
        if not resume:
            load_backbone(self.model, options.backbone_weights)
        self.model.backbone.freeze(options.backbone_blocks_frozen)
        self.model.to(self.device)
        if self.device.type == "cpu":
            self.model.backbone.to(memory_format=torch.channels_last)
        self.average = {
            key: value.detach().clone() for key, value in self.model.state_dict().items()
        }
        self.learning: list[Tensor] = [p for p in self.model.parameters() if p.requires_grad]
        self.averaged = [
            self.average[name] for name, p in self.model.named_parameters() if p.requires_grad
        ]
        self.optimizer = self._optimizer()
        given = proposals_of_file(options.proposals) if options.proposals else None
        self.photos = TrainingPhotos(
            photos,
            config=options.config,
            vocabulary=self.vocabulary,
            seed=options.seed,
            vary=True,
            proposals=given,
        )
        self.sizes = [self.photos.size(index) for index in range(len(photos))]
        self.validation = self._validation_batches(folder / "val.jsonl")
        self.step = 0
        self.seconds = 0.0  # of training so far, over all sittings
        if resume:
            self.load()
        self.model.backbone.fold(options.backbone_blocks_frozen)
        self.provenance = {
            "photos": len(photos),
            "regions": sum(len(photo.regions) for photo in photos),
            "phrases": sum(1 for _ in _texts(photos)),
            "options": {k: v for k, v in options.to_json().items() if k != "config"},
        }

    def _read(self, file: Path) -> list[AnnotatedPhoto]:
        """Photos as the network's method sees them."""
        photos = read_regions(file)
        if self.options.config.method == "full_image_rnn":
            return [as_one_region(photo) for photo in photos]
        return photos

    def _optimizer(self) -> torch.optim.AdamW:
        """AdamW, three learning rates, no decay on biases and norms."""
        options, model = self.options, self.model
        pretrained = {id(p) for block in model.backbone.blocks() for p in block.parameters()}
        recognition = {id(p) for p in model.recognition.parameters()}
        groups: dict[tuple[float, bool], list[Tensor]] = {}
        for parameter in model.parameters():
            if parameter.requires_grad:
                rate = options.learning_rate
                if id(parameter) in pretrained:
                    rate = options.backbone_learning_rate
                elif id(parameter) in recognition:
                    rate = options.recognition_learning_rate
                groups.setdefault((rate, parameter.ndim > 1), []).append(parameter)
        return torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "lr": rate,
                    "base": rate,
                    "weight_decay": options.weight_decay if decays else 0.0,
                }
                for (rate, decays), parameters in groups.items()
            ],
            betas=(0.9, 0.99),
            fused=True,
        )

    def _validation_batches(self, file: Path) -> list[tuple[Tensor, list[Target]]]:
        """The first photos of the validation file, in batches of one shape; none without a file."""
        if not file.exists():
            return []
        photos = [photo for photo in self._read(file) if photo.regions]
        step = max(1, len(photos) // self.options.validation_photos)
        photos = photos[::step][: self.options.validation_photos]
        seen = TrainingPhotos(
            photos, config=self.options.config, vocabulary=self.vocabulary, seed=0, vary=False
        )
        by_size: dict[tuple[int, int], list[int]] = {}
        for index in range(len(photos)):
            by_size.setdefault(seen.size(index), []).append(index)
        return [
            collate([seen[index] for index in indices[first : first + 16]])
            for indices in by_size.values()
            for first in range(0, len(indices), 16)
        ]

    def rate(self, step: int) -> float:
        """Share of the learning rate at a step: linear warm-up, then a cosine to 2 %."""
        warm_up = self.options.warm_up
        if step < warm_up:
            return (step + 1) / warm_up
        done = (step - warm_up) / max(1, self.options.steps - warm_up)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def go(self, report: Callable[[TrainingProgress], None]) -> Path:
        """Train to the last step."""
        options = self.options
        saved = told = time.monotonic()
        losses: dict[str, float] = {}
        counted = 0
        for pixels, targets in self._batches():
            progress = None
            with uninterrupted():
                began = time.monotonic()
                for name, value in self._learn(pixels, targets).items():
                    losses[name] = losses.get(name, 0.0) + value
                counted += 1
                self.step += 1
                self.seconds += time.monotonic() - began
                last = self.step == options.steps
                validation = None
                if self.step % options.validate_every == 0 or last:
                    validation = self.validate()
                if self.step % 10 == 0 or validation is not None or last:
                    pace = (time.monotonic() - told) / counted
                    means = {name: value / counted for name, value in losses.items()}
                    self._log({"step": self.step, "seconds_per_step": round(pace, 3), **means})
                    if validation:
                        self._log({"step": self.step, "validation": validation})
                    progress = self._progress(means["total"], pace, validation)
                    losses, counted, told = {}, 0, time.monotonic()
            if progress:
                report(progress)
            if time.monotonic() - saved > 60 * options.checkpoint_minutes:
                with uninterrupted():
                    self.save()
                saved = time.monotonic()
        with uninterrupted():
            self.save()
            self._finish()
        return self.checkpoint

    def _progress(
        self, loss: float, pace: float, validation: dict[str, float] | None
    ) -> TrainingProgress:
        options = self.options
        return TrainingProgress(
            step=self.step,
            steps=options.steps,
            epoch=self.step * options.batch_size / len(self.photos),
            loss=loss,
            seconds_per_step=pace,
            seconds_left=pace * (options.steps - self.step),
            validation=validation,
        )

    def _batches(self) -> Iterator[tuple[Tensor, list[Target]]]:
        """Batches from the loader; a worker's DataError as one sentence.

        Raises:
            DataError: a photo is missing or broken.
        """
        try:
            yield from self._loader()
        except DataError as error:
            sentence = str(error).strip().splitlines()[-1]
            raise DataError(sentence.removeprefix("dcsearch.errors.DataError: ")) from None

    def _loader(self) -> Iterator[tuple[Tensor, list[Target]]]:
        options = self.options
        batches = Batches(
            self.sizes,
            batch=options.batch_size,
            seed=options.seed,
            start=self.step,
            steps=options.steps,
        )
        return iter(
            DataLoader(
                self.photos,
                batch_sampler=batches,
                num_workers=options.workers,
                collate_fn=collate,
                prefetch_factor=4 if options.workers else None,
                multiprocessing_context="fork" if options.workers else None,
            )
        )

    def _learn(self, pixels: Tensor, targets: Sequence[Target]) -> dict[str, float]:
        """One step; every draw in it is seeded by the step's number."""
        options = self.options
        torch.manual_seed(options.seed * 1_000_003 + self.step)
        self.model.train()
        pixels, targets = self._there(pixels, targets)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=options.bfloat16):
            losses = self.model.losses(pixels, targets)
            total = self.model.total(losses)
        if not torch.isfinite(total):
            raise FloatingPointError(f"the loss became {total.item()} at step {self.step}")
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, options.gradient_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * self.rate(self.step)
        self.optimizer.step()
        decay = min(options.averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.averaged, self.learning, 1 - decay)
        return {
            **{name: value.item() for name, value in losses._asdict().items()},
            "total": total.item(),
            "gradient_norm": norm.item(),
        }

    def _there(self, pixels: Tensor, targets: Sequence[Target]) -> tuple[Tensor, list[Target]]:
        """Batch on the device, channels last on the CPU."""
        form = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        there = [
            Target(
                target.boxes.to(self.device),
                target.phrases,
                None if target.proposals is None else target.proposals.to(self.device),
            )
            for target in targets
        ]
        return pixels.to(self.device, memory_format=form), there

    def validate(self) -> dict[str, float]:
        """Validation figures of the averaged weights; empty without validation photos."""
        if not self.validation:
            return {}
        own = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.model.eval()
        batches = [self._there(pixels, targets) for pixels, targets in self.validation]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.bfloat16):
            figures = mean_losses(self.model, batches, seed=0)
            if self.options.config.method == "fcln":
                figures |= localization(self.model, batches)
        self.model.load_state_dict(own)
        return figures

    @property
    def checkpoint(self) -> Path:
        """The averaged weights."""
        return self.output / "model.safetensors"

    def save(self) -> None:
        """Write the state and the checkpoint, each replaced only when whole."""
        whole = self.state_file.with_suffix(".part")
        torch.save(
            {
                "step": self.step,
                "seconds": self.seconds,
                "model": self.model.state_dict(),
                "average": self.average,
                "optimizer": self.optimizer.state_dict(),
                "words": list(self.vocabulary.words),
                "options": json.dumps(_lasting(self.options)),
            },
            whole,
        )
        os.replace(whole, self.state_file)
        own = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self._save_checkpoint(self.model)
        self.model.load_state_dict(own)

    def _finish(self) -> None:
        """Write the checkpoint once more, with landmarks; the run itself stays as it is."""
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.average)
        photos = self.photos.photos
        keep_landmarks(model, sample_landmarks(model.eval(), photos, seed=self.options.seed))
        self._save_checkpoint(model)

    def _save_checkpoint(self, model: FCLN) -> None:
        save_checkpoint(
            self.checkpoint,
            model,
            self.vocabulary,
            name=self.options.name,
            provenance={**self.provenance, "step": self.step, "seconds": round(self.seconds)},
        )

    def load(self) -> None:
        """Take up the saved state.

        Raises:
            UsageError: the state is damaged, or was made with other options or data.
        """
        try:
            state = torch.load(self.state_file, map_location=self.device, weights_only=True)
            same = json.loads(state["options"]) == json.loads(json.dumps(_lasting(self.options)))
            words = state["words"]
        except Exception as error:  # torch.load raises whatever the damage makes it raise
            raise UsageError(
                f"{self.state_file} cannot be read ({type(error).__name__}); start anew in "
                "another folder"
            ) from None
        if not same or words != list(self.vocabulary.words):
            raise UsageError(
                f"the run in {self.output} was started with other options or data; "
                "give the same, or start anew in another folder"
            )
        self.model.load_state_dict(state["model"])
        for key, value in state["average"].items():
            self.average[key].copy_(value)  # in place: `averaged` looks at the same tensors
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]

    def _log(self, values: dict[str, Any]) -> None:
        with (self.output / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


def _texts(photos: Sequence[AnnotatedPhoto]) -> Iterator[str]:
    """Every phrase of the photos."""
    for photo in photos:
        for region in photo.regions:
            yield from region.phrases
            yield from region.long_phrases


def _lasting(options: TrainingOptions) -> dict[str, Any]:
    """The options that a resumed run must share."""
    passing = {"workers", "device", "checkpoint_minutes", "backbone_weights"}
    return {key: value for key, value in options.to_json().items() if key not in passing}
