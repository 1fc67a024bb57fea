"""Detection: the boxes of one photo that a phrase describes best."""

from dataclasses import dataclass

import numpy as np
import torch
from torchvision.ops import nms

from dcsearch.describe import Description
from dcsearch.scoring.formula import region_scores
from dcsearch.scoring.match import MatchCurve
from dcsearch.scoring.phrase import Phrase
from dcsearch.scoring.scorer import Engine, RegionScorer


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One box for a phrase."""

    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in upright original pixels
    score: float  # evidence, by formula.py
    log_likelihood: float
    log_prior: float
    objectness: float
    caption: str
    match: float | None = None  # see AlignedRegion of an answer; 0 to 1


def detect(
    description: Description,
    phrase: Phrase,
    scorer: RegionScorer[Engine],
    *,
    top: int = 5,
    min_score: float | None = None,
    overlap: float = 0.5,
    match: MatchCurve | None = None,
) -> list[Detection]:
    """Boxes of a described photo for a phrase, best first.

    Args:
        description: of the photo; without regions the answer is empty.
        phrase: to look for.
        scorer: of the checkpoint that made the description.
        top: boxes at the most.
        min_score: boxes below it are left out.
        overlap: a box goes when its IoU with a better one is above this.
        match: of the scorer's scores; None where they were not calibrated.
    """
    prior = scorer.prior(phrase)
    terms = scorer.terms(description.codes, [phrase], "log_likelihood")
    log_likelihood = terms["log_likelihood"][:, 0]  # (N,)
    phrase_free = scorer.phrase_free_terms(
        description.codes, description.objectness, np.array([len(description.codes)])
    )
    scores = region_scores(scorer.weights.value(terms)[:, 0], prior.value, *phrase_free)
    boxes = torch.from_numpy(description.boxes)
    kept = nms(boxes, torch.from_numpy(scores).float(), overlap).tolist()[:top]
    x0, y0, x1, y1 = description.boxes.T.tolist() if len(boxes) else ([], [], [], [])
    return [
        Detection(
            box=(x0[index], y0[index], x1[index], y1[index]),
            score=float(scores[index]),
            log_likelihood=float(log_likelihood[index]),
            log_prior=prior.log_likelihood,
            objectness=float(description.objectness[index]),
            caption=description.captions[index],
            match=None if match is None else match.of(float(scores[index])),
        )
        for index in kept
        if min_score is None or scores[index] >= min_score
    ]
