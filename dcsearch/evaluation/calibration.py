"""Calibration: how often photos show what was asked, measured at every score."""

from collections.abc import Callable, Sequence

import numpy as np

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.describe import Describer, Description
from dcsearch.errors import UsageError
from dcsearch.evaluation.described import describe_annotated
from dcsearch.evaluation.pairs import category_pairs, phrase_pairs
from dcsearch.scoring.formula import default_score
from dcsearch.scoring.match import MatchCurve, fit_match
from dcsearch.scoring.torch_engine import torch_scorer

REGIONS = 100  # of a photo, as many as an index has
_PHRASE_PHOTOS = 150
_BATCH = 16


def calibrate(
    checkpoint: Checkpoint,
    photos: Sequence[AnnotatedPhoto],
    *,
    device: str = "auto",
    phrase_photos: int = _PHRASE_PHOTOS,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> MatchCurve:
    """The match curve of a model, for the score that it uses by default.

    Both sets of pairs of `dcsearch.evaluation.pairs` count, each pair once.

    Args:
        checkpoint: of the model; its network moves to the device.
        photos: that it was not trained on.
        device: "auto", "cpu" or "cuda".
        phrase_photos: photos without annotated objects that two phrases each are taken from.
        seed: of the draw of these.
        on_progress: called with (photos described, photos).

    Raises:
        UsageError: the photos have neither objects nor phrases that the model knows; or the device
            is not there.
        DataError: a photo cannot be opened.
    """
    describer = Describer(checkpoint, device=device, regions=REGIONS)
    described: list[Description] = []
    for first in range(0, len(photos), _BATCH):
        described += describe_annotated(photos[first : first + _BATCH], describer)
        if on_progress:
            on_progress(len(described), len(photos))
    score = default_score(checkpoint.config.embedding.embedding_size)
    scorer = torch_scorer(checkpoint, score, device=device)
    categories, _ = category_pairs(photos, described, scorer)
    phrases = phrase_pairs(photos, described, scorer, count=phrase_photos, seed=seed)
    scores, shown = [], []
    for pairs in (categories, phrases):
        priors = np.array([scorer.prior(phrase).value for phrase in pairs.phrases])
        scores.append((pairs.scores - priors)[pairs.known])
        shown.append(pairs.shown[pairs.known])
    if not np.concatenate(shown).any():
        raise UsageError("these photos show nothing that has a name or a phrase the model knows")
    return fit_match(score, np.concatenate(scores), np.concatenate(shown))
