"""Settings: what `dcsearch serve` was told, as the application takes it."""

from dataclasses import dataclass, field
from pathlib import Path

from dcsearch.threads import given_cores

MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class UploadLimits:
    """How much of pictures that are not in the index the server takes and keeps.

    Attributes:
        bytes: of one request.
        megapixels: of one picture.
        kept: pictures; the oldest is forgotten for a new one.
        at_once: requests whose bytes are in memory; the next is told to come again.
    """

    bytes: int = 30 * MEGABYTE
    megapixels: float = 100.0
    kept: int = 16
    at_once: int = 4


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the application serves, and to whom.

    Attributes:
        database: the index, as `Index.open` takes it.
        model, device: likewise.
        hosts: names, in lower case, that the server may be called by in the Host header.
        any_address: whether it may be called by any IP address, not by those of this computer only.
        password: what everyone has to know; None: nobody is asked.
        folders: those that may be indexed from the page.
        thumbnails: folder of the small pictures.
        thumbnail_bytes: that they may take.
        max_megapixels: photos of more are not opened.
        uploads: see `UploadLimits`.
        searches_at_once: questions that are answered at the same time.
        searches_waiting: further ones that wait for their turn; the next is told to come again.
    """

    database: str | None = None
    model: Path | None = None
    device: str = "auto"
    hosts: frozenset[str] = frozenset({"localhost"})
    any_address: bool = False
    password: str | None = None
    folders: tuple[Path, ...] = ()
    thumbnails: Path
    thumbnail_bytes: int = 1000 * MEGABYTE
    max_megapixels: float = 200.0
    uploads: UploadLimits = field(default_factory=UploadLimits)
    searches_at_once: int = field(default_factory=given_cores)
    searches_waiting: int = 64
