"""Refining: training the layers that read region codes, on codes computed once.

Of a whole training step, nearly all time goes into pixels, and the language model learns from a few
hundred captions. With everything below it fixed, its inputs can be kept, and a step has thousands.
Regions, objectness and boxes stay exactly as they were; with joint inference, the location LSTM
learns too.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from dcsearch.boxes import clip, decode_offsets, encode_offsets, not_empty
from dcsearch.checkpoint.checkpoint import Checkpoint, save_checkpoint
from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.device import choose_device, has_bfloat16
from dcsearch.errors import DataError
from dcsearch.model.language import pad_tokens
from dcsearch.training.landmarks import keep_landmarks, sample_landmarks
from dcsearch.training.losses import box_loss
from dcsearch.training.matching import match
from dcsearch.training.objective import Objective, make_word_head
from dcsearch.training.optimizers import half_cosine
from dcsearch.training.options import RefiningOptions
from dcsearch.training.photos import Batches, TrainingPhotos, collate
from dcsearch.training.phrase_terms import (
    caption_terms,
    contrast_term,
    discrimination_term,
    draw_phrase,
    word_term,
)
from dcsearch.training.probes import give_probes
from dcsearch.training.splits import read_split
from dcsearch.training.start import load_word_head, objective_of
from dcsearch.training.targets import PhraseTarget, Target


@dataclass(frozen=True, kw_only=True)
class RefiningProgress:
    """The state of the work."""

    stage: str  # "collecting" codes or "refining"
    done: int
    of: int
    losses: dict[str, float]  # means since the last report; empty while collecting


class CodeBank(NamedTuple):
    """Regions as the language model learns from them."""

    codes: Tensor  # (N, D) float16, before the language model's encoder
    wanted: Tensor  # (N, 4) offsets from final boxes to annotated ones; nan of annotated boxes
    phrases: list[list[PhraseTarget]]  # of each of the N regions, at least one
    photos: Tensor  # (N,) int64, the photo of each
    whole: Tensor  # (P, D) float16, the photos' own codes; (0, D) without the config's `context`


def refine(
    checkpoint: Checkpoint,
    data: Path,
    output: Path,
    options: RefiningOptions,
    *,
    on_progress: Callable[[RefiningProgress], None] | None = None,
) -> dict[str, float]:
    """Train a checkpoint's language model further and write the checkpoint that results.

    The word head is an older file's own, or begins at random.

    Args:
        checkpoint: its model is changed.
        data: folder with train.jsonl, and val.jsonl if there is one, or with a dataset's files;
            or a JSON-lines file.
        output: the file to write, replaced only when whole.
        options: how.
        on_progress: called now and then.

    Returns:
        Mean losses on the validation regions; empty without.

    Raises:
        DataError: the data are missing, malformed or hold no phrase.
    """
    report = on_progress or (lambda progress: None)
    device = choose_device(options.device)
    model = checkpoint.model.to(device)
    model.backbone.fold()
    photos = read_split(data, "train")
    bank = collect(checkpoint, photos, options, device=device, report=report)
    if not bank.phrases:
        raise DataError(f"{data} holds no phrase; nothing can be learned from it")
    began = time.monotonic()
    objective = _objective(checkpoint, seed=options.seed).to(device)
    learning = _learning(objective)
    _train(objective, learning, bank, options, report)
    keep_landmarks(model, sample_landmarks(model.eval(), photos, seed=options.seed))
    give_probes(checkpoint, photos, seed=options.seed)
    provenance: dict[str, Any] = {
        **checkpoint.provenance,
        "refined": {
            "steps": options.steps,
            "regions": len(bank.phrases),
            "seconds": round(time.monotonic() - began),
            "seed": options.seed,
        },
    }
    save_checkpoint(
        output, model, checkpoint.vocabulary, name=checkpoint.name, provenance=provenance
    )
    return _validate(checkpoint, objective, read_split(data, "val"), options, device)


def _train(
    objective: Objective,
    learning: Sequence[Tensor],
    bank: CodeBank,
    options: RefiningOptions,
    report: Callable[[RefiningProgress], None],
) -> None:
    """All steps; draws are seeded."""
    device = learning[0].device
    for parameter in learning:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        learning, lr=options.learning_rate, weight_decay=options.weight_decay, betas=(0.9, 0.99)
    )
    torch.manual_seed(options.seed)
    sums: dict[str, float] = {}
    for step in range(options.steps):
        rows = torch.randint(len(bank.phrases), (options.batch_size,))
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
            losses = language_losses(objective, bank, rows, options)
            total = (
                options.caption_weight * losses["caption"]
                + options.discrimination_weight * losses["discrimination"]
                + options.word_weight * losses["word"]
                + options.contrast_weight * losses["contrast"]
                + options.normaliser_weight * losses["normaliser"]
                + objective.config.box_weight * losses["joint_box"]
            )
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        torch.nn.utils.clip_grad_norm_(learning, 5.0)
        share = half_cosine(math.pi * step / options.steps)
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * share * min(1.0, (step + 1) / options.warm_up)
        optimizer.step()
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        if (step + 1) % 25 == 0 or step + 1 == options.steps:
            count = 25 if (step + 1) % 25 == 0 else options.steps % 25
            means = {name: value / count for name, value in sums.items()}
            report(
                RefiningProgress(stage="refining", done=step + 1, of=options.steps, losses=means)
            )
            sums = {}


@torch.no_grad()
def collect(
    checkpoint: Checkpoint,
    photos: Sequence[AnnotatedPhoto],
    options: RefiningOptions,
    *,
    device: torch.device,
    report: Callable[[RefiningProgress], None],
) -> CodeBank:
    """Codes of the annotated boxes, and of the proposals near them, with their phrases; every view
    of a photo is a photo."""
    config = checkpoint.config
    checkpoint.model.eval()
    photos = [photo for photo in photos if photo.regions]
    nothing = torch.zeros(0, config.recognition.code_size, dtype=torch.half)
    banks = [CodeBank(nothing, torch.zeros(0, 4), [], torch.zeros(0, dtype=torch.long), nothing)]
    count = 0  # of photos so far
    for view in range(options.views):
        views = TrainingPhotos(
            photos, config=config, vocabulary=checkpoint.vocabulary, seed=options.seed,
            vary=view > 0,
        )  # fmt: skip
        sizes = [views.size(index) for index in range(len(photos))]
        batches = Batches(sizes, batch=16, seed=options.seed, start=0, steps=1).epoch(view)
        loader = DataLoader(
            views,
            batch_sampler=batches,
            num_workers=options.workers,
            collate_fn=collate,
            multiprocessing_context="fork" if options.workers else None,
        )
        for done, (pixels, targets) in enumerate(loader, start=1):
            with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
                own = _regions(checkpoint, pixels.to(device), targets, options)
            banks.append(own._replace(photos=own.photos + count))
            count += len(targets)
            report(
                RefiningProgress(
                    stage="collecting",
                    done=view * len(batches) + done,
                    of=options.views * len(batches),
                    losses={},
                )
            )
    return CodeBank(
        codes=torch.cat([own.codes for own in banks]),
        wanted=torch.cat([own.wanted for own in banks]),
        phrases=[phrases for own in banks for phrases in own.phrases],
        photos=torch.cat([own.photos for own in banks]),
        whole=torch.cat([own.whole for own in banks]),
    )


def _regions(
    checkpoint: Checkpoint, pixels: Tensor, targets: Sequence[Target], options: RefiningOptions
) -> CodeBank:
    """The regions with phrases of one batch of photos."""
    model = checkpoint.model
    height, width = pixels.shape[2:]
    features = model.features(pixels)
    candidates = model.localization(features)
    boxes: list[Tensor] = []
    goals: list[Tensor] = []  # the annotated box of each
    proposed: list[Tensor] = []  # bool
    phrases: list[list[PhraseTarget]] = []
    for photo, target in enumerate(targets):
        described = [index for index, own in enumerate(target.phrases) if own]
        annotated = target.boxes.to(pixels.device)[described]  # (P, 4)
        near = model.proposals(candidates, photo, width=width, height=height)
        matched = match(near, annotated, positive=0.5, negative=0.5, every_region=False)
        chosen = matched.positive.nonzero().squeeze(1)[: options.proposals]
        boxes.append(torch.cat([annotated, near[chosen]]))
        regions = [*range(len(described)), *matched.region[chosen].tolist()]
        goals.append(annotated[regions])
        proposed.append(torch.arange(len(regions), device=pixels.device) >= len(described))
        phrases += [target.phrases[described[region]] for region in regions]
    sampled = model.interpolate(features, boxes, width=width, height=height)
    found, whole = model.recognise_in_context(sampled, features, width=width, height=height)
    final = clip(decode_offsets(torch.cat(boxes), found.offsets), width, height)  # (N, 4)
    moves = torch.cat(proposed) & not_empty(final)  # (N,)
    wanted = torch.where(moves[:, None], encode_offsets(final, torch.cat(goals)), torch.nan)
    return CodeBank(
        codes=found.codes.half().cpu(),
        wanted=wanted.cpu(),
        phrases=phrases,
        photos=torch.arange(len(boxes)).repeat_interleave(torch.tensor([len(b) for b in boxes])),
        whole=(found.codes[:0] if whole is None else whole).half().cpu(),
    )


def _objective(checkpoint: Checkpoint, *, seed: int) -> Objective:
    """The objective of a checkpoint's network, with a word head where the config asks for one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = make_word_head(checkpoint.model)
    objective = objective_of(checkpoint.model, words=head)
    load_word_head(objective, checkpoint)
    return objective


def _learning(objective: Objective) -> list[Tensor]:
    """The weights that refining trains; their layers go into training mode."""
    network = objective.network
    learning: list[Tensor] = [*network.language.train().parameters()]
    if network.config.language.joint_inference:
        learning += network.location.train().parameters()
    if objective.words is not None:
        learning += objective.words.parameters()
    if network.config.embedding.embedding_size:
        learning += network.embedding.train().parameters()
    return learning


def language_losses(
    objective: Objective, bank: CodeBank, rows: Tensor, options: RefiningOptions
) -> dict[str, Tensor]:
    """The terms of an objective that some regions of a bank have, by name; 0 without their part."""
    network = objective.network
    language = network.language
    device = language.encoder.weight.device

    def varied(codes: Tensor) -> Tensor:
        return functional.dropout(codes.to(device).float(), options.dropout, language.training)

    whole = varied(bank.whole[bank.photos[rows]]) if len(bank.whole) else None
    encoded = language.encode(varied(bank.codes[rows]), whole)
    of_regions = [bank.phrases[row] for row in rows.tolist()]
    phrases = [draw_phrase(texts) for texts in of_regions]
    tokens = pad_tokens([phrase.tokens for phrase in phrases]).to(device)
    few = options.discriminated_regions
    nothing = encoded.new_zeros(())
    losses = dict.fromkeys(("caption", "discrimination", "word", "contrast"), nothing)
    losses |= {"normaliser": nothing, "joint_box": nothing}
    losses["caption"], losses["normaliser"] = caption_terms(language, encoded, tokens, mean="words")
    losses["discrimination"] = discrimination_term(
        language, encoded[:few], tokens[:few], phrases[:few], of_regions[:few]
    )
    if network.config.language.joint_inference:
        wanted = bank.wanted[rows].to(device)
        moves = ~wanted.isnan().any(dim=1)  # (N,)
        offsets = network.location(encoded[moves], tokens[moves], language.embedding)
        losses["joint_box"] = box_loss(offsets, wanted[moves])
    if network.config.embedding.embedding_size:
        losses["contrast"] = contrast_term(network.embedding, encoded, tokens, phrases, of_regions)
    if objective.words is not None:
        losses["word"] = word_term(objective.words, encoded, of_regions)
    return losses


@torch.no_grad()
def _validate(
    checkpoint: Checkpoint,
    objective: Objective,
    photos: Sequence[AnnotatedPhoto],
    options: RefiningOptions,
    device: torch.device,
) -> dict[str, float]:
    """Mean losses on the annotated boxes of up to 200 validation photos."""
    if not photos:
        return {}
    few = RefiningOptions(
        views=1, proposals=0, dropout=0.0, workers=0,
        discriminated_regions=options.discriminated_regions,
    )  # fmt: skip
    photos = photos[:: max(1, len(photos) // 200)]
    bank = collect(checkpoint, photos, few, device=device, report=lambda progress: None)
    torch.manual_seed(0)
    order = torch.randperm(len(bank.phrases))
    parts = [
        language_losses(objective, bank, rows, few)
        for rows in torch.split(order, 256)
        if len(rows) >= few.discriminated_regions
    ]
    return {
        name: sum(part[name].item() for part in parts) / max(1, len(parts))
        for name in (parts[0] if parts else {})
        if name != "joint_box"  # annotated boxes have nowhere to move
    }
