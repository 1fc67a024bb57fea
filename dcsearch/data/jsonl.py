"""JSON lines, one photo a line: see regions.py."""

import contextlib
import json
from collections.abc import Iterator

from dcsearch.data.findings import Found
from dcsearch.data.reader import Reader, Source
from dcsearch.data.regions import AnnotatedPhoto, photos_of_lines
from dcsearch.errors import Cure, UsageError


class JsonLinesReader(Reader):
    """train.jsonl and the like; photos are named by the lines themselves."""

    marks = ("*.jsonl",)
    file = "a JSON-lines file"
    suffix = ".jsonl"

    def recognises(self, beginning: bytes) -> bool:
        """Whether the first line is an object with "image"."""
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(beginning.partition(b"\n")[0])
            return isinstance(row, dict) and "image" in row
        return False

    def photos(self, source: Source, found: Found) -> Iterator[AnnotatedPhoto]:
        """The photos of the file, or of the folder's X.jsonl for the split X."""
        file = self.annotation(source)
        if source.images:
            raise UsageError("JSON lines name their photos themselves", Cure.LEAVE_OUT_IMAGES)
        return photos_of_lines(file, found)


READER = JsonLinesReader()
