"""What a run of indexing did."""

from dataclasses import dataclass, field

from dcsearch.errors import DcsearchError
from indexer.indexing.pruning import MissingFolder
from indexer.photos.scan import FailedPhoto


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """What a run did.

    Attributes:
        found: photos on disk.
        unchanged: of these, in the index as they are; also those with a new time but old content.
        indexed: described by the model in this run.
        moved: known by their content under another path; nothing was computed again.
        duplicates: of a content that the index has under another path; copied.
        returned: were missing, and are back unharmed.
        missing: newly marked missing: gone from the folders given.
        pruned: missing photos removed from the index.
        unpruned: folders that are gone with their photos, or nearly all of them, which were
            therefore not removed.
        failed: photos that could not be used in this run, and folders that could not be listed or
            whose files could not be reached.
        still_failed: failed in an earlier run and have not changed since; not tried again.
        drawn: pictures that dcsearch drew, and passed over.
        noted: indexed, though something is wrong with their files.
        unread: the machine did not let them be read; the index has of them what it had, and the
            next run tries them.
        elsewhere: other indexers of the same store described them, or were at them, meanwhile.
        regions: stored for the photos indexed.
        interrupted: Ctrl-C; everything finished by then is stored, and the next run goes on.
        notices: what else the user should know, and what mends it.
    """

    found: int
    unchanged: int
    indexed: int
    moved: int
    duplicates: int
    returned: int
    missing: int
    pruned: int
    unpruned: tuple[MissingFolder, ...]
    failed: tuple[FailedPhoto, ...]
    still_failed: tuple[FailedPhoto, ...]
    drawn: int
    noted: tuple[FailedPhoto, ...]
    unread: tuple[FailedPhoto, ...]
    regions: int
    seconds: float
    interrupted: bool
    elsewhere: int = 0
    notices: tuple[DcsearchError, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether a question may be answered otherwise than before."""
        return bool(self.indexed or self.duplicates or self.returned or self.missing or self.pruned)


@dataclass(kw_only=True)
class Done:
    """What is stored so far."""

    indexed: int = 0
    regions: int = 0
    moved: int = 0
    copied: int = 0
    returned: int = 0
    missing: int = 0
    pruned: int = 0
    described: int = 0  # of the photos to describe: described, copied, failed or vanished
    failures: list[FailedPhoto] = field(default_factory=list)
    drawn: int = 0
    noted: list[FailedPhoto] = field(default_factory=list)
    unread: list[FailedPhoto] = field(default_factory=list)
    elsewhere: int = 0
