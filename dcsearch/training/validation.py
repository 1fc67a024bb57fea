"""How good a network is while it trains: losses, proposal recall and localization."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

from dcsearch.model.fcln import FCLN, Target
from dcsearch.model.language import pad_tokens


@torch.no_grad()
def localization(
    model: FCLN, batches: Sequence[tuple[Tensor, list[Target]]], *, regions: int = 100
) -> dict[str, float]:
    """Recall of annotated boxes among the best regions, and of phrases aligned in their own photo.

    Args:
        model: in evaluation mode.
        batches: photos and targets.
        regions: looked at in each photo.

    Returns:
        `recall@R`: share of annotated boxes that some region covers at IoU .5. `localization`:
        share of phrases whose likeliest region covers their box at IoU .5. 0 without phrases.
    """
    covered = boxes = found = phrases = 0
    for pixels, targets in batches:
        for seen, target in zip(model(pixels, most=regions), targets, strict=True):
            if len(target.boxes) == 0 or len(seen.boxes) == 0:
                continue
            overlap = box_iou(seen.boxes, target.boxes.to(seen.boxes.device))  # (N, P)
            covered += int((overlap.max(dim=0).values >= 0.5).sum())
            boxes += len(target.boxes)
            owners = [index for index, own in enumerate(target.phrases) for _ in own]
            tokens = [phrase.tokens for own in target.phrases for phrase in own]
            if not tokens:
                continue
            scores = model.language.cross_log_likelihoods(
                seen.encoded, pad_tokens(tokens).to(pixels.device)
            )
            best = scores.argmax(dim=0)  # (M,)
            found += int((overlap[best, owners] >= 0.5).sum())
            phrases += len(tokens)
    return {
        f"recall@{regions}": covered / max(boxes, 1),
        "localization": found / max(phrases, 1),
    }


@torch.no_grad()
def mean_losses(
    model: FCLN, batches: Sequence[tuple[Tensor, list[Target]]], *, seed: int
) -> dict[str, float]:
    """Each loss term and the weighted total, mean over the batches; the draws are seeded."""
    totals: dict[str, float] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for pixels, targets in batches:
            losses = model.losses(pixels, targets)
            values = {**losses._asdict(), "total": model.total(losses)}
            for name, value in values.items():
                totals[name] = totals.get(name, 0.0) + value.item() / len(batches)
    return totals
