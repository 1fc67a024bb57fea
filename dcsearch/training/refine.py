"""Refining: what reads region codes trained on by itself, on codes computed once.

Of a whole training step, nearly all time goes into pixels, and the language model sees a few
hundred captions for it. With everything below it fixed, its inputs can be kept, and it sees
thousands. Regions, objectness and boxes stay exactly as they were; with joint inference, captions
learn too where to move boxes.
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
from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.device import choose_device
from dcsearch.errors import DataError
from dcsearch.model.checkpoint import Checkpoint, save_checkpoint
from dcsearch.model.fcln import PhraseTarget, Target, compatible_phrases, said_words
from dcsearch.model.language import pad_tokens
from dcsearch.model.losses import (
    box_loss,
    caption_loss,
    contrast_loss,
    discrimination_loss,
    normaliser_loss,
    word_loss,
)
from dcsearch.model.matching import match
from dcsearch.training.landmarks import keep_landmarks, sample_landmarks
from dcsearch.training.photos import Batches, TrainingPhotos, collate
from dcsearch.training.probes import give_probes
from dcsearch.training.splits import read_split


@dataclass(frozen=True, kw_only=True)
class RefiningOptions:
    """How to refine."""

    views: int = 2  # of each photo: as it is, then varied
    proposals: int = 8  # of a photo that learn captions beside the annotated boxes
    steps: int = 1400
    batch_size: int = 1024  # regions a step
    discriminated_regions: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    dropout: float = 0.2  # of the codes
    caption_weight: float = 1.0
    discrimination_weight: float = 1.0
    word_weight: float = 0.25
    contrast_weight: float = 0.5
    normaliser_weight: float = 0.05
    warm_up: int = 50
    seed: int = 0
    device: str = "auto"
    workers: int = 1


@dataclass(frozen=True, kw_only=True)
class RefiningProgress:
    """What a line about the work can say."""

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

    Args:
        checkpoint: its model is changed.
        data: folder with train.jsonl, and val.jsonl if there is one, or with a dataset's files;
            or a JSON-lines file.
        output: the file to write, replaced only when whole.
        options: how.
        on_progress: told now and then.

    Returns:
        Mean losses on the validation regions; empty without.

    Raises:
        DataError: the data are missing, malformed or hold no phrase.
    """
    report = on_progress or (lambda progress: None)
    device = choose_device(options.device)
    model = checkpoint.model.to(device)
    photos = read_split(data, "train")
    bank = collect(checkpoint, photos, options, device=device, report=report)
    if not bank.phrases:
        raise DataError(f"{data} holds no phrase; nothing can be learned from it")
    began = time.monotonic()
    learning = [*model.language.train().parameters()]
    if checkpoint.config.joint_inference:
        learning += model.location.train().parameters()
    if checkpoint.config.word_weight:
        learning += model.words.parameters()
    if checkpoint.config.embedding_size:
        learning += model.embedding.train().parameters()
    for parameter in learning:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        learning, lr=options.learning_rate, weight_decay=options.weight_decay, betas=(0.9, 0.99)
    )
    torch.manual_seed(options.seed)
    sums: dict[str, float] = {}
    for step in range(options.steps):
        rows = torch.randint(len(bank.phrases), (options.batch_size,))
        with torch.autocast(device.type, torch.bfloat16):
            losses = language_losses(checkpoint, bank, rows, options, device=device)
            total = (
                options.caption_weight * losses["caption"]
                + options.discrimination_weight * losses["discrimination"]
                + options.word_weight * losses["word"]
                + options.contrast_weight * losses["contrast"]
                + options.normaliser_weight * losses["normaliser"]
                + checkpoint.config.box_weight * losses["joint_box"]
            )
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        torch.nn.utils.clip_grad_norm_(learning, 5.0)
        share = 0.5 * (1 + math.cos(math.pi * step / options.steps))
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
    return _validate(checkpoint, read_split(data, "val"), options, device)


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
    nothing = torch.zeros(0, config.code_size, dtype=torch.half)
    banks = [CodeBank(nothing, torch.zeros(0, 4), [], torch.zeros(0, dtype=torch.long), nothing)]
    count = 0  # of photos so far
    for view in range(options.views):
        seen = TrainingPhotos(
            photos, config=config, vocabulary=checkpoint.vocabulary, seed=options.seed,
            vary=view > 0,
        )  # fmt: skip
        sizes = [seen.size(index) for index in range(len(photos))]
        batches = Batches(sizes, batch=16, seed=options.seed, start=0, steps=1).epoch(view)
        loader = DataLoader(
            seen,
            batch_sampler=batches,
            num_workers=options.workers,
            collate_fn=collate,
            multiprocessing_context="fork" if options.workers else None,
        )
        for done, (pixels, targets) in enumerate(loader, start=1):
            with torch.autocast(device.type, torch.bfloat16):
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
        told = [index for index, own in enumerate(target.phrases) if own]
        annotated = target.boxes.to(pixels.device)[told]  # (P, 4)
        near = model.proposals(candidates, photo, width=width, height=height)
        matched = match(near, annotated, positive=0.5, negative=0.5, every_region=False)
        chosen = matched.positive.nonzero().squeeze(1)[: options.proposals]
        boxes.append(torch.cat([annotated, near[chosen]]))
        owners = [*range(len(told)), *matched.region[chosen].tolist()]
        goals.append(annotated[owners])
        proposed.append(torch.arange(len(owners), device=pixels.device) >= len(told))
        phrases += [target.phrases[told[owner]] for owner in owners]
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


def language_losses(
    checkpoint: Checkpoint,
    bank: CodeBank,
    rows: Tensor,
    options: RefiningOptions,
    *,
    device: torch.device,
) -> dict[str, Tensor]:
    """The losses of some regions that FCLN.losses has of a step, by name; 0 without their part."""
    model = checkpoint.model
    language = model.language

    def varied(codes: Tensor) -> Tensor:
        return functional.dropout(codes.to(device).float(), options.dropout, language.training)

    whole = varied(bank.whole[bank.photos[rows]]) if len(bank.whole) else None
    encoded = language.encode(varied(bank.codes[rows]), whole)
    own = [bank.phrases[row] for row in rows.tolist()]
    spoken = [texts[int(torch.randint(len(texts), ()))] for texts in own]
    tokens = pad_tokens([phrase.tokens for phrase in spoken]).to(device)
    likelihoods, normalisers = language.read(encoded, tokens)
    few = options.discriminated_regions
    scores = language.cross_log_likelihoods(encoded[:few], tokens[:few])
    losses = {
        "caption": caption_loss(likelihoods, (tokens >= 0).sum(dim=1)),
        "discrimination": discrimination_loss(
            scores, compatible_phrases(spoken[:few], own[:few]).to(device)
        ),
        "word": encoded.new_zeros(()),
        "contrast": encoded.new_zeros(()),
        "normaliser": normaliser_loss(normalisers),
        "joint_box": encoded.new_zeros(()),
    }
    if checkpoint.config.joint_inference:
        wanted = bank.wanted[rows].to(device)
        moves = ~wanted.isnan().any(dim=1)  # (N,)
        offsets = model.location(encoded[moves], tokens[moves], language.embedding)
        losses["joint_box"] = box_loss(offsets, wanted[moves])
    if checkpoint.config.embedding_size:
        losses["contrast"] = contrast_loss(
            model.embedding.embed_regions(encoded) @ model.embedding.embed_phrases(tokens).T,
            compatible_phrases(spoken, own).to(device),
            model.embedding.scale,
        )
    if checkpoint.config.word_weight:
        logits = model.words(encoded).float()
        losses["word"] = word_loss(logits, said_words(own, logits.shape[1]).to(device))
    return losses


@torch.no_grad()
def _validate(
    checkpoint: Checkpoint,
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
        language_losses(checkpoint, bank, rows, few, device=device)
        for rows in torch.split(order, 256)
        if len(rows) >= few.discriminated_regions
    ]
    return {
        name: sum(part[name].item() for part in parts) / max(1, len(parts))
        for name in (parts[0] if parts else {})
        if name != "joint_box"  # annotated boxes have nowhere to move
    }
