"""Form: how annotated photos are stored."""

from enum import StrEnum


class Form(StrEnum):
    """The forms that can be read."""

    jsonl = "jsonl"
    visual_genome = "visual-genome"
    flickr30k_entities = "flickr30k-entities"
    coco = "coco"
