"""Splits: the photos of a dataset to train on, and those to validate on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dcsearch.data.dataset import Dataset
from dcsearch.data.formats import DatasetFormat
from dcsearch.data.regions import AnnotatedPhoto, photos_of_lines
from dcsearch.errors import DataError
from dcsearch.training.photos import as_one_region


@dataclass(frozen=True, kw_only=True)
class WeightedData:
    """Photos to learn from, and how often each of them comes in an epoch."""

    path: Path
    weight: float = 1.0


def weighted(data: Path | Sequence[WeightedData]) -> Sequence[WeightedData]:
    """One path, or several with weights, as several."""
    return (WeightedData(path=data),) if isinstance(data, Path) else data


def read_split(
    data: Path, split: str, *, limit: int | None = None, whole: bool = False, scenes: bool = False
) -> list[AnnotatedPhoto]:
    """The photos of one split that have regions; the photos themselves are not opened.

    Args:
        data: a folder with train.jsonl, or with the files of a dataset that has such splits; or
            a JSON-lines file to train on, val.jsonl beside it.
        split: "train", or "val", of which JSON lines may have none: then there is no photo.
        limit: the first of them only.
        whole: each photo is one region, which its captions describe.
        scenes: photos without regions are so, where they have captions, and are not left out.

    Raises:
        DataError: no such files, or they are malformed.
    """
    photos = (
        as_one_region(photo) if whole or (scenes and not photo.regions) else photo
        for photo in _photos(data, split)
    )
    return list(islice((photo for photo in photos if photo.regions), limit))


def _photos(data: Path, split: str) -> Iterator[AnnotatedPhoto]:
    form = _form(data)
    if form is not DatasetFormat.jsonl:
        return Dataset(path=data, form=form, split=split).photos()
    lines = data / f"{split}.jsonl" if data.is_dir() else data
    if split == "train":
        return photos_of_lines(lines)
    lines = lines.with_name(f"{split}.jsonl")
    return photos_of_lines(lines) if lines.exists() else iter(())


def _form(data: Path) -> DatasetFormat:
    """JSON lines wherever there may be some."""
    if data.is_dir() and not (data / "train.jsonl").exists():
        try:
            return Dataset(path=data).recognised_form()
        except DataError:
            return DatasetFormat.jsonl  # whose reader names what is missing
    if (
        data.suffix == ".json"
        and Dataset(path=data).recognised_form() is DatasetFormat.visual_genome
    ):
        return DatasetFormat.visual_genome
    return DatasetFormat.jsonl
