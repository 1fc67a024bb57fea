"""Prints how likely a phrase is for every region of one photo, most likely first.

python examples/score_a_phrase.py PHOTO "a cat" [WEIGHTS]

The log likelihood is the sum over the phrase's words and the end of the sentence, in natural
logarithms: 0 would be certainty, and every unit less is e times less likely.
"""

import sys
from pathlib import Path

from PIL import Image, ImageOps

from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.describe import Describer
from dcsearch.scoring.phrase import read_phrase
from dcsearch.scoring.torch_engine import TorchEngine


def main() -> None:
    photo, text, *weights = sys.argv[1:]
    checkpoint = load_checkpoint(Path(weights[0]) if weights else None)
    phrase = read_phrase(text, checkpoint.vocabulary)
    for unknown in phrase.unknown:
        print(f"not in the vocabulary: {unknown.word}; near it: {', '.join(unknown.nearest)}")

    describer = Describer(checkpoint)
    with Image.open(photo) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    (description,) = describer.describe([describer.prepare(upright)])

    likelihoods = TorchEngine(checkpoint).log_likelihood(description.codes, phrase)
    for region in (-likelihoods).argsort():
        corners = ", ".join(f"{edge:.0f}" for edge in description.boxes[region])
        print(f"{likelihoods[region]:8.2f}  ({corners})  {description.captions[region]}")


if __name__ == "__main__":
    main()
