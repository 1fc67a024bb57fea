"""Reader: a dataset format, recognised by its files and read."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dcsearch.data.findings import Found
from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.errors import Cure, DataError


@dataclass(frozen=True, kw_only=True)
class Source:
    """Which photos of a dataset are wanted, and where they lie.

    Attributes:
        path: a file or folder.
        split: which part; None: all there is.
        splits: file or folder that lists the splits; None: beside the annotation.
        images: folders with the photos; none: the usual ones beside the annotation.
        rules: a reader's own; see visual_genome.py.
    """

    path: Path
    split: str | None = None
    splits: Path | None = None
    images: tuple[Path, ...] = ()
    rules: object = None


class Reader(ABC):
    """One format.

    Attributes:
        marks: globs of the format's annotation in a folder.
        file: the annotation as one file, for error messages; empty where it is a folder only.
        folder: what else a folder of the format holds, for error messages.
        suffix: of files that are of this format whatever they hold; empty: none.
        file_per_split: whether a folder has one file for each split.
    """

    marks: Sequence[str]
    file: str = ""
    folder: str = ""
    suffix: str = ""
    file_per_split: bool = True

    @abstractmethod
    def recognises(self, beginning: bytes) -> bool:
        """Whether a file that begins so may be of this format."""

    @abstractmethod
    def photos(self, source: Source, found: Found) -> Iterator[AnnotatedPhoto]:
        """The photos, one after another, in the order of their annotation.

        Args:
            source: which photos.
            found: called for what is malformed or left out.

        Raises:
            DataError: the annotation cannot be found or read, or what `found` raises.
            UsageError: the source's options do not fit the format.
        """

    def files(self, folder: Path) -> Iterator[Path]:
        """The format's annotation in a folder."""
        return (file for mark in self.marks for file in folder.glob(mark))

    def annotation(self, source: Source) -> Path:
        """The one file that the path and the split name.

        Raises:
            DataError: there is none, or several.
        """
        if not source.path.is_dir():
            return source.path
        wanted = files = {split_of(file): file for file in sorted(self.files(source.path))}
        split = source.split
        if split is not None and self.file_per_split:
            fitting = {name: files[name] for name in files if name.startswith(split)}
            wanted = {split: files[split]} if split in files else fitting
        if len(wanted) != 1:
            names = ", ".join(files) or f"no {self.marks[0]}"
            raise DataError(f"{source.path} holds {names}", Cure.CHOOSE_SPLIT)
        return next(iter(wanted.values()))


def split_of(file: Path) -> str:
    """The split in a file's name, such as "val2017"."""
    return file.stem.removeprefix("instances_")
