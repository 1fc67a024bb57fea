"""Landmarks: codes of regions as a network finds them in its training photos, backgrounds included.

They stand for regions in general. What a phrase comes to on them is its prior
(dcsearch/scoring/prior.py), and shows roughly what it will come to on any other region.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.model.fcln import FCLN, Regions
from dcsearch.training.photos import cut

LANDMARKS = 1024
_OF_A_PHOTO = 8
_FOUND = 100  # regions of a photo that they are drawn from, as many as an index has


@torch.no_grad()
def sample_landmarks(
    model: FCLN, photos: Sequence[AnnotatedPhoto], *, seed: int = 0, most: int = LANDMARKS
) -> Tensor:
    """Encoded codes (K, E) of regions that a network finds, drawn at random, in random order: the
    first of them are landmarks as well.

    Args:
        model: in evaluation mode.
        photos: are opened in random order until there are enough.
        seed: of the photos and of the regions.
        most: K, or less where the photos do not have so many; at most 8 are of one photo.

    Returns:
        Float32, on the model's device. K is 0 for a region RNN, which finds no regions by itself.

    Raises:
        DataError: a photo is missing or broken.
    """
    chance = np.random.default_rng(seed)
    weight = model.language.encoder.weight
    codes = weight.new_zeros(0, model.config.language.encoded_size)
    if not model.finds_regions:
        return codes
    for index in chance.permutation(len(photos)):
        found = find_regions(model, photos[index]).encoded
        codes = torch.cat([codes, found[chance.permutation(len(found))[:_OF_A_PHOTO]]])
        if len(codes) >= most:
            break
    codes = codes[:most]
    return codes[torch.from_numpy(chance.permutation(len(codes)))]


@torch.no_grad()
def find_regions(model: FCLN, photo: AnnotatedPhoto) -> Regions:
    """What a network in evaluation mode finds in a photo, as much as an index has of it.

    Raises:
        DataError: the photo is missing or broken.
    """
    frame = (0.0, 0.0, float(photo.width), float(photo.height))
    resized = cut(photo, frame, *model.config.features.photo_size(photo.width, photo.height))
    pixels = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))
    found: list[Regions] = model(pixels[None].to(model.language.encoder.weight.device), most=_FOUND)
    return found[0]


def keep_landmarks(model: FCLN, codes: Tensor) -> None:
    """Give a network landmarks (K, E) in place of those that it has; its config names K."""
    model.language.landmarks = codes if len(codes) else None
    model.config = model.config.replace(landmarks=len(codes))
