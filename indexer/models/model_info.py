"""What there is to know of a model without loading it."""

from dataclasses import dataclass
from pathlib import Path

from dcsearch.checkpoint.header import CheckpointHeader


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The header of a weights file, and what the collection knows of the file.

    Attributes:
        name: under which it is kept; None for a file that lies elsewhere.
        bytes: size of the file.
        in_use: commands that name no model use it.
        header: its config, words and provenance.
        parameters: numbers that training can change.
        precision: in which most of them are stored, "F16" or "F32".
        source: file or address that it came from; empty where that was not recorded.
        added: when, ISO 8601 in UTC; likewise.
    """

    name: str | None
    path: Path
    bytes: int
    in_use: bool
    header: CheckpointHeader
    parameters: int
    precision: str
    source: str
    added: str

    @property
    def terms(self) -> str:
        """The licence that its provenance names; empty where it names none."""
        named = (self.header.provenance.get(key) for key in ("licence", "license", "terms"))
        return next((str(each) for each in named if each), "")
