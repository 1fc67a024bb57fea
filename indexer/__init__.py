"""Indexing and search: photos on disk, the database, the index built from them, and past answers.

`Index` is the door; the other names are what its methods take and return, and what reads a box, a
date or a list of paths from text.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexer.answer import AlignedRegion, Answer, PhotoResult
    from indexer.finding import Finding
    from indexer.health.doctor import examine
    from indexer.index import Index
    from indexer.indexing.describing import Cluster
    from indexer.indexing.plan import IndexPlan
    from indexer.indexing.progress import IndexProgress
    from indexer.indexing.pruning import MissingFolder
    from indexer.indexing.report import IndexReport
    from indexer.photos.open import OpenedPhoto
    from indexer.photos.scan import FailedPhoto
    from indexer.search.example import Example, parse_box, parse_example
    from indexer.store.copy import CopyReport
    from indexer.store.filters import FilterGaps, PhotoFilter, listed_paths, read_date
    from indexer.store.postgres_url import shown_url
    from indexer.store.records import (
        IndexedPhoto,
        IndexModel,
        IndexStatus,
        PastQuery,
        PhotoFacts,
        SeenRegions,
        StoredRegion,
    )

__all__ = [
    "AlignedRegion",
    "Answer",
    "Cluster",
    "CopyReport",
    "Example",
    "FailedPhoto",
    "FilterGaps",
    "Finding",
    "Index",
    "IndexModel",
    "IndexPlan",
    "IndexProgress",
    "IndexReport",
    "IndexStatus",
    "IndexedPhoto",
    "MissingFolder",
    "OpenedPhoto",
    "PastQuery",
    "PhotoFacts",
    "PhotoFilter",
    "PhotoResult",
    "SeenRegions",
    "StoredRegion",
    "examine",
    "listed_paths",
    "parse_box",
    "parse_example",
    "read_date",
    "shown_url",
]

_HOME = {
    "shown_url": "store.postgres_url",
    "AlignedRegion": "answer",
    "Answer": "answer",
    "Cluster": "indexing.describing",
    "CopyReport": "store.copy",
    "Example": "search.example",
    "FailedPhoto": "photos.scan",
    "FilterGaps": "store.filters",
    "Finding": "finding",
    "Index": "index",
    "IndexModel": "store.records",
    "IndexPlan": "indexing.plan",
    "IndexProgress": "indexing.progress",
    "IndexReport": "indexing.report",
    "IndexStatus": "store.records",
    "IndexedPhoto": "store.records",
    "MissingFolder": "indexing.pruning",
    "OpenedPhoto": "photos.open",
    "PastQuery": "store.records",
    "PhotoFacts": "store.records",
    "SeenRegions": "store.records",
    "PhotoFilter": "store.filters",
    "PhotoResult": "answer",
    "StoredRegion": "store.records",
    "examine": "health.doctor",
    "listed_paths": "store.filters",
    "parse_box": "search.example",
    "parse_example": "search.example",
    "read_date": "store.filters",
}


def __getattr__(name: str) -> Any:
    """A name of `__all__`, imported when it is asked for: not every use of the package searches."""
    if name in _HOME:
        return getattr(importlib.import_module(f"indexer.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
