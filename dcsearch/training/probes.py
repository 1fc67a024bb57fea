"""Probes: phrases of the training photos, as points in the space that they share with regions.

They stand for any phrase that may be asked. How well a photo answers them is its hubness
(dcsearch/scoring/hubness.py), relative to the level of the training photos.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.model.fcln import FCLN
from dcsearch.model.language import pad_tokens
from dcsearch.scoring.formula import Weights
from dcsearch.scoring.hubness import Probes, hubness
from dcsearch.scoring.phrase import known_phrase
from dcsearch.training.landmarks import find_regions
from dcsearch.vocabulary import Vocabulary

PROBES = 256
_LEVEL_PHOTOS = 64


@torch.no_grad()
def sample_probes(
    model: FCLN,
    vocabulary: Vocabulary,
    photos: Sequence[AnnotatedPhoto],
    *,
    seed: int = 0,
    most: int = PROBES,
) -> Tensor:
    """Unit vectors (K, S) of different short phrases of photos, drawn at random: one of each photo,
    then another of each. So what is said of many photos is likely among them, as it is likely
    asked; drawn from all that is ever said, they help half as much (docs/models.md).

    Args:
        model: in evaluation mode, with an embedding.
        vocabulary: of the model; phrases that it has no word of are passed over.
        photos: any; they are not opened.
        seed: of the draw.
        most: K, or less where the photos do not have so many phrases.

    Returns:
        Float32, on the model's device.
    """
    chance = np.random.default_rng(seed)
    said = [[text for r in photo.regions for text in r.phrases] for photo in photos]
    drawn = [chance.permutation(said[photo]) for photo in chance.permutation(len(photos))]
    chosen: dict[tuple[int, ...], None] = {}  # what differs in unknown words alone is one phrase
    for texts in itertools.zip_longest(*drawn):
        for text in texts:
            if text is None or len(chosen) == most:
                continue
            if phrase := known_phrase(str(text), vocabulary):
                chosen[phrase.tokens] = None
    if not chosen:
        return model.embedding.region.weight.new_zeros(0, len(model.embedding.region.weight))
    tokens = pad_tokens(list(chosen)).to(model.embedding.region.weight.device)
    return model.embedding.embed_phrases(tokens)


@torch.no_grad()
def level_of(
    model: FCLN,
    probes: Tensor,
    photos: Sequence[AnnotatedPhoto],
    *,
    seed: int = 0,
    most: int = _LEVEL_PHOTOS,
) -> float | None:
    """How well an ordinary photo answers probes (K, S): the mean over some, drawn at random.

    None where the network finds nothing in any of them.

    Raises:
        DataError: a photo is missing or broken.
    """
    means = []
    for index in np.random.default_rng(seed).permutation(len(photos))[:most].tolist():
        found = find_regions(model, photos[index])
        if len(found.encoded):
            objectness = torch.sigmoid(found.objectness.float()).cpu().numpy()
            vectors = model.embedding.embed_regions(found.encoded).cpu().numpy()
            start = np.zeros(1, dtype=np.int64)
            scores = Weights().objectness_score(objectness)
            means += hubness(vectors, scores, start, Probes(probes.cpu().numpy())).tolist()
    return float(np.mean(means)) if means else None


def keep_probes(
    model: FCLN, vocabulary: Vocabulary, photos: Sequence[AnnotatedPhoto], *, seed: int = 0
) -> None:
    """Give a network probes of some photos in place of those that it has; its config names K.

    It keeps none where it has no embedding, finds no regions by itself, or the photos have no
    phrases.

    Args:
        model: in evaluation mode.
        vocabulary: of the model.
        photos: that the phrases are of, and some of which the level is of.
        seed: of the draws.

    Raises:
        DataError: a photo is missing or broken.
    """
    if not model.config.embedding.embedding_size:
        return
    probes, level = None, None
    if model.finds_regions:
        probes = sample_probes(model, vocabulary, photos, seed=seed)
        level = level_of(model, probes, photos, seed=seed) if len(probes) else None
    if level is None:
        probes = None
    embedding = model.embedding
    embedding.probes = probes
    embedding.level = None if level is None else embedding.log_scale.new_tensor(level)
    count = 0 if probes is None else len(probes)
    model.config = model.config.replace(probes=count)


def give_probes(
    checkpoint: Checkpoint, photos: Sequence[AnnotatedPhoto], *, seed: int = 0
) -> Checkpoint:
    """The checkpoint, whose network is changed as by `keep_probes`, with the config of that."""
    keep_probes(checkpoint.model.eval(), checkpoint.vocabulary, photos, seed=seed)
    return dataclasses.replace(checkpoint, config=checkpoint.model.config)
