"""Dataset: annotated photos in any of the forms that can be read, recognised by their files."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dcsearch.data.coco import photos_of_coco
from dcsearch.data.findings import Found, refuse
from dcsearch.data.flickr30k_entities import photos_of_flickr30k_entities
from dcsearch.data.form import Form
from dcsearch.data.json_file import read_text
from dcsearch.data.photo_folders import PhotoFolders
from dcsearch.data.regions import AnnotatedPhoto, photos_of_lines
from dcsearch.data.visual_genome import (
    PAPER,
    VisualGenomeRules,
    photos_of_visual_genome,
    split_ids,
)
from dcsearch.errors import DataError, UsageError

# The files of each form, in a folder.
MARKS = {
    Form.jsonl: ("*.jsonl",),
    Form.visual_genome: ("*region_descriptions*.json",),
    Form.flickr30k_entities: ("Annotations/*.xml",),
    Form.coco: ("instances_*.json", "annotations/instances_*.json"),
}
KNOWN = (
    "a JSON-lines file, region_descriptions.json of Visual Genome, instances_*.json of COCO, or a "
    "folder with one of them or with Annotations and Sentences of Flickr30k Entities"
)
_BEGINNING = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Where annotated photos lie, and which of them are wanted.

    Attributes:
        path: a file or folder of one of the forms.
        form: how it is stored; None: recognised.
        split: which part; names the file X.jsonl or instances_X.json of a folder, a list of ids
            (X.txt of Flickr30k Entities), or a key of densecap_splits.json (Visual Genome); has no
            meaning for a single JSON-lines or COCO file. None: all there is.
        splits: densecap_splits.json, or the folder with X.txt; None: beside the annotation.
        images: folders with the photos; none: the usual ones beside the annotation. JSON lines name
            their photos themselves.
        rules: what of Visual Genome is kept.
    """

    path: Path
    form: Form | None = None
    split: str | None = None
    splits: Path | None = None
    images: tuple[Path, ...] = ()
    rules: VisualGenomeRules = PAPER

    def recognised_form(self) -> Form:
        """The form asked for, or that of the files.

        Raises:
            DataError: there is nothing at the path, or nothing of a form known, or of several.
        """
        if self.form is not None:
            return self.form
        if not os.path.exists(self.path):
            raise DataError(f"no such file or folder: {self.path}; name {KNOWN}")
        forms = [form for form in Form if any(self._files(form))]
        if self.path.is_file():
            forms = _forms_of_file(self.path)
        if not forms:
            raise DataError(f"{self.path} is no dataset of a known form; name {KNOWN}")
        if len(forms) > 1:
            names = " and ".join(forms)
            raise DataError(f"{self.path} holds data of the forms {names}; choose with --form")
        return forms[0]

    def photos(self, found: Found = refuse) -> Iterator[AnnotatedPhoto]:
        """The photos, one after another, in the order of their annotation.

        Raises:
            DataError: the annotation cannot be found or read, or what `found` raises.
            UsageError: the options do not fit the form.
        """
        form = self.recognised_form()
        if form is Form.flickr30k_entities:
            return self._flickr30k_entities(found)
        file = self._file(form)
        if form is Form.visual_genome:
            return self._visual_genome(file, found)
        if form is Form.coco:
            return self._coco(file, found)
        if self.images:
            raise UsageError("JSON lines name their photos themselves; leave out --images")
        return photos_of_lines(file, found)

    def _visual_genome(self, file: Path, found: Found) -> Iterator[AnnotatedPhoto]:
        folder = file.parent
        image_data = folder / file.name.replace("region_descriptions", "image_data")
        if image_data == file or not image_data.exists():
            image_data = folder / "image_data.json"
        ids = None
        if self.split is not None:
            ids = split_ids(self.splits or folder / "densecap_splits.json", self.split)
        usual = (folder / "VG_100K", folder / "VG_100K_2", folder / "images", folder)
        folders = PhotoFolders(self.images, usual)
        return photos_of_visual_genome(
            file, image_data, folders, ids=ids, rules=self.rules, found=found
        )

    def _flickr30k_entities(self, found: Found) -> Iterator[AnnotatedPhoto]:
        if not any(self._files(Form.flickr30k_entities)):
            raise DataError(f"{self.path} is no folder with Annotations of Flickr30k Entities")
        ids = None
        if self.split is not None:
            ids = read_text((self.splits or self.path) / f"{self.split}.txt").split()
        names = ("flickr30k-images", "flickr30k_images", "images", ".")
        folders = PhotoFolders(self.images, [self.path / name for name in names])
        return photos_of_flickr30k_entities(self.path, folders, ids=ids, found=found)

    def _coco(self, file: Path, found: Found) -> Iterator[AnnotatedPhoto]:
        name = _split_of(file)  # such as val2017
        bases = (file.parent, file.parent.parent)
        usual = [base / place for base in bases for place in (name, f"images/{name}", "images")]
        return photos_of_coco(file, PhotoFolders(self.images, [*usual, file.parent]), found=found)

    def _files(self, form: Form) -> Iterator[Path]:
        return (file for mark in MARKS[form] for file in self.path.glob(mark))

    def _file(self, form: Form) -> Path:
        """The one file that the path and the split name.

        Raises:
            DataError: there is none, or several.
        """
        if not self.path.is_dir():
            return self.path
        wanted = files = {_split_of(file): file for file in sorted(self._files(form))}
        if self.split is not None and form is not Form.visual_genome:
            fitting = {name: files[name] for name in files if name.startswith(self.split)}
            wanted = {self.split: files[self.split]} if self.split in files else fitting
        if len(wanted) != 1:
            names = ", ".join(files) or f"no {MARKS[form][0]}"
            raise DataError(f"{self.path} holds {names}; name one as its file or with --split")
        return next(iter(wanted.values()))


def read_dataset(
    path: Path, *, form: Form | None = None, split: str | None = None, images: Iterable[Path] = ()
) -> list[AnnotatedPhoto]:
    """All photos of a dataset, with the options of `Dataset`; the photos are not opened.

    Raises:
        DataError: the annotation cannot be found, or is malformed; the place is named.
        UsageError: the options do not fit the form.
    """
    return list(Dataset(path=path, form=form, split=split, images=tuple(images)).photos())


def _split_of(file: Path) -> str:
    return file.stem.removeprefix("instances_")


def _forms_of_file(file: Path) -> list[Form]:
    """The form of a file by its name and first line; empty where it is none."""
    if file.suffix == ".jsonl":
        return [Form.jsonl]
    try:
        with open(file, "rb") as stream:
            beginning = stream.read(_BEGINNING).lstrip()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None
    if beginning.startswith(b"["):
        return [Form.visual_genome]
    with contextlib.suppress(ValueError, RecursionError):
        row = json.loads(beginning.partition(b"\n")[0])
        if isinstance(row, dict) and "image" in row:
            return [Form.jsonl]
    return [Form.coco] if beginning.startswith(b"{") else []
