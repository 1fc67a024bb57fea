"""Dataset: annotated photos in any format that can be read, recognised by their files."""

import codecs
import importlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from dcsearch.data.findings import Found, refuse
from dcsearch.data.formats import DatasetFormat
from dcsearch.data.reader import Reader, Source
from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.errors import Cure, DataError

_BEGINNING = 1 << 20  # bytes of a file that are read to recognise it


@dataclass(frozen=True, kw_only=True)
class Dataset(Source):
    """Where annotated photos lie, and which of them are wanted.

    `split` names the file X.jsonl or instances_X.json of a folder, a list of ids (X.txt of
    Flickr30k Entities), or a key of densecap_splits.json (Visual Genome); it has no meaning for a
    single JSON-lines or COCO file. `splits` is densecap_splits.json, or the folder with X.txt.
    JSON lines name their photos themselves, and take no `images`.

    Attributes:
        form: how it is stored; None: recognised.
    """

    form: DatasetFormat | None = None

    def recognised_form(self) -> DatasetFormat:
        """The format asked for, or that of the files.

        Raises:
            DataError: there is nothing at the path, or nothing of a known format, or of several.
        """
        if self.form is not None:
            return self.form
        if not os.path.exists(self.path):
            raise DataError(f"no such file or folder: {self.path}; name {_known()}")
        if self.path.is_file():
            forms = _forms_of_file(self.path)
        else:
            forms = [form for form in DatasetFormat if any(reader_of(form).files(self.path))]
        if not forms:
            raise DataError(f"{self.path} is no dataset of a known form; name {_known()}")
        if len(forms) > 1:
            names = " and ".join(forms)
            raise DataError(f"{self.path} holds data of the forms {names}", Cure.CHOOSE_FORM)
        return forms[0]

    def photos(self, found: Found = refuse) -> Iterator[AnnotatedPhoto]:
        """The photos, one after another, in the order of their annotation.

        Raises:
            DataError: the annotation cannot be found or read, or what `found` raises.
            UsageError: the options do not fit the format.
        """
        return reader_of(self.recognised_form()).photos(self, found)


def read_dataset(
    path: Path,
    *,
    form: DatasetFormat | None = None,
    split: str | None = None,
    images: Iterable[Path] = (),
) -> list[AnnotatedPhoto]:
    """All photos of a dataset, with the options of `Dataset`; the photos are not opened.

    Raises:
        DataError: the annotation cannot be found, or is malformed; the place is named.
        UsageError: the options do not fit the format.
    """
    return list(Dataset(path=path, form=form, split=split, images=tuple(images)).photos())


def reader_of(form: DatasetFormat) -> Reader:
    """The reader of a format."""
    return cast(Reader, importlib.import_module(f"dcsearch.data.{form.name}").READER)


def _known() -> str:
    """What can be named as a dataset."""
    readers = [reader_of(form) for form in DatasetFormat]
    files = ", ".join(reader.file for reader in readers if reader.file)
    folders = " or ".join(reader.folder for reader in readers if reader.folder)
    return f"{files}, or a folder with one of them or with {folders}"


def _forms_of_file(file: Path) -> list[DatasetFormat]:
    """The format of a file by its name or its beginning; empty where it is none."""
    by_suffix = [form for form in DatasetFormat if reader_of(form).suffix == file.suffix != ""]
    if by_suffix:
        return by_suffix
    try:
        with open(file, "rb") as stream:
            beginning = stream.read(_BEGINNING).removeprefix(codecs.BOM_UTF8).lstrip()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None
    return [form for form in DatasetFormat if reader_of(form).recognises(beginning)][:1]
