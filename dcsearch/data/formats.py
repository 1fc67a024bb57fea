"""DatasetFormat: how annotated photos are stored; the one place that names the readers.

The format NAME is read by the object READER of dcsearch/data/NAME.py, see reader.py.
"""

from enum import StrEnum


class DatasetFormat(StrEnum):
    """The formats that can be read."""

    jsonl = "jsonl"
    visual_genome = "visual-genome"
    flickr30k_entities = "flickr30k-entities"
    coco = "coco"
