"""Prints what the network sees in a photo: one caption for every region, surest first.

python examples/describe_a_photo.py PHOTO [WEIGHTS]
"""

import sys
from pathlib import Path

from PIL import Image, ImageOps

from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.describe import Describer


def main() -> None:
    photo, *weights = sys.argv[1:]
    checkpoint = load_checkpoint(Path(weights[0]) if weights else None)
    describer = Describer(checkpoint, regions=20)
    with Image.open(photo) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    (description,) = describer.describe([describer.prepare(upright)])
    for box, objectness, caption in zip(
        description.caption_boxes, description.objectness, description.captions, strict=True
    ):
        corners = ", ".join(f"{edge:.0f}" for edge in box)
        print(f"{objectness:.2f}  ({corners})  {caption}")


if __name__ == "__main__":
    main()
