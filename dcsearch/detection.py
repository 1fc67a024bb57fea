"""Detection: the boxes of one photo that a phrase describes best."""

from dataclasses import dataclass

import numpy as np
import torch
from torchvision.ops import nms

from dcsearch.describe import Description
from dcsearch.hubness import hubness_score
from dcsearch.mixed_score import MixedScorer
from dcsearch.phrase import Phrase
from dcsearch.region_score import evidence_scores


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One box for a phrase."""

    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in upright original pixels
    score: float  # evidence, as in region_score.py
    log_likelihood: float
    log_prior: float
    objectness: float
    caption: str


def detect(
    description: Description,
    phrase: Phrase,
    scorer: MixedScorer,
    *,
    top: int = 5,
    min_score: float | None = None,
    overlap: float = 0.5,
) -> list[Detection]:
    """Boxes of a described photo for a phrase, best first.

    Args:
        description: of the photo; without regions the answer is empty.
        phrase: to look for.
        scorer: of the checkpoint that made the description.
        top: boxes at the most.
        min_score: boxes below it are left out.
        overlap: a box goes when its IoU with a better one is above this.
    """
    prior, log_prior = scorer.priors(phrase)
    values, log_likelihood = scorer.read(description.codes, phrase)  # (N,) each
    scores = evidence_scores(values, prior, description.objectness)
    counts = np.array([len(scores)])
    hubness = scorer.hubness(description.codes, description.objectness, counts)
    scores = scores + hubness_score(hubness, counts)
    boxes = torch.from_numpy(description.boxes)
    kept = nms(boxes, torch.from_numpy(scores).float(), overlap).tolist()[:top]
    x0, y0, x1, y1 = description.boxes.T.tolist() if len(boxes) else ([], [], [], [])
    return [
        Detection(
            box=(x0[index], y0[index], x1[index], y1[index]),
            score=float(scores[index]),
            log_likelihood=float(log_likelihood[index]),
            log_prior=log_prior,
            objectness=float(description.objectness[index]),
            caption=description.captions[index],
        )
        for index in kept
        if min_score is None or scores[index] >= min_score
    ]
