"""Annotated photos described by a network, from whatever boxes: the paper's columns."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from PIL import Image

from dcsearch.data.pixels import open_annotated
from dcsearch.data.proposals import Proposer
from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.describe import Describer, Description


def describe_annotated(
    photos: Sequence[AnnotatedPhoto],
    describer: Describer,
    *,
    source: Proposer | Literal["final", "proposed"] = "final",
    captions: bool = False,
    batch: int = 16,
) -> Iterator[Description]:
    """Description of each annotated photo, boxes in the annotation's frame.

    Args:
        photos: any number.
        describer: its `regions` bounds the regions of a photo.
        source: where the boxes come from: the network's own, "final" or as "proposed" by its
            localization layer, or a proposer's, which are recognised as they are.
        captions: whether to decode them.
        batch: photos at a time; changes nothing but the speed.

    Raises:
        DataError: a photo cannot be opened.
    """
    for first in range(0, len(photos), batch):
        prepared, given = [], []
        for photo in photos[first : first + batch]:
            frame = (photo.width, photo.height)
            image = open_annotated(photo)
            prepared.append(describer.prepare(image, frame=frame))
            if callable(source):
                upright = image.resize(frame, Image.Resampling.BILINEAR)
                describer.stopwatch.lap("opening")
                given.append(np.asarray(source(photo, upright))[: describer.regions])
                describer.stopwatch.lap("proposals")
        if callable(source):
            yield from describer.recognise(prepared, given, captions=captions)
        else:
            yield from describer.describe(prepared, captions=captions, moved=source == "final")
