"""What there is to do for some photos: new, changed, moved, duplicate, returned, gone."""

from dataclasses import dataclass, field
from pathlib import Path

from indexer.indexing.pruning import MissingFolder
from indexer.photos.scan import FailedPhoto, Scan
from indexer.photos.url import photo_path
from indexer.store.records import Move, PhotoFile


@dataclass(frozen=True, kw_only=True)
class IndexPlan:
    """What indexing would do; nothing is done yet.

    Attributes:
        found: photos on disk.
        unchanged: of these, already in the index as they are.
        describe: to be described by the model: new, changed, forced, or of another model.
        moved: (from, to); known by their content, nothing is computed again.
        duplicates: content that the index has already; copied.
        returned: were missing and are back unharmed.
        missing: in the index, but gone from the folders given.
        pruned: missing photos that would leave the index.
        unpruned: folders that are gone with their photos, or nearly all of them; these stay.
        still_failed: failed before and have not changed since.
        drawn: pictures that dcsearch drew, passed over; new ones are told when they are opened.
        unreadable: folders that cannot be listed, or whose files cannot be reached.
    """

    found: int
    unchanged: int
    describe: tuple[Path, ...]
    moved: tuple[tuple[Path, Path], ...]
    duplicates: tuple[Path, ...]
    returned: tuple[Path, ...]
    missing: tuple[Path, ...]
    pruned: tuple[Path, ...]
    unpruned: tuple[MissingFolder, ...]
    still_failed: tuple[FailedPhoto, ...]
    drawn: int
    unreadable: tuple[FailedPhoto, ...]


@dataclass(kw_only=True)
class Work:
    """A plan with the records it concerns; carried out by `indexer.indexing.run`.

    Attributes:
        switching: the index passes from another model to this one.
        redo: photos are described whatever the index has already: all, or where such a run was cut
            off, those below the same folder that it did not come to.
        redone: ids of the photos with regions that are described again.
        states: photo id -> state, of photos that only change their state.
        touched: photos whose file has a new time but its old content; old and new path are one.
        moves: photos whose content is at another path now.
        displaced: ids of photos whose path another one takes, and whose content is nowhere.
        copies: (file, id of the photo to copy from).
        prunable: photo id -> path, of those gone from the folders given that may be forgotten.
        unpruned: the folders of the others that are gone.
        drawn: pictures that dcsearch drew, known as such.
        elsewhere: photos that other indexers described while this was planned.
    """

    scan: Scan
    switching: bool = False
    redo: bool = False
    redone: list[int] = field(default_factory=list)
    found: int = 0
    unchanged: int = 0
    states: dict[int, str] = field(default_factory=dict)
    touched: list[Move] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    displaced: list[int] = field(default_factory=list)
    copies: list[tuple[PhotoFile, int]] = field(default_factory=list)
    describe: list[PhotoFile] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    prunable: dict[int, str] = field(default_factory=dict)
    unpruned: tuple[MissingFolder, ...] = ()
    still_failed: list[FailedPhoto] = field(default_factory=list)
    drawn: int = 0
    elsewhere: int = 0

    def plan(self, *, prune: bool) -> IndexPlan:
        """The plan alone; with `prune`, photos that are gone would leave the index."""
        return IndexPlan(
            found=self.found,
            unchanged=self.unchanged,
            describe=tuple(photo_path(file.path) for file in self.describe),
            moved=tuple(
                (photo_path(move.old_path), photo_path(move.file.path)) for move in self.moves
            ),
            duplicates=tuple(photo_path(file.path) for file, _ in self.copies),
            returned=tuple(map(photo_path, self.returned)),
            missing=tuple(map(photo_path, self.missing)),
            pruned=tuple(map(photo_path, self.prunable.values())) if prune else (),
            unpruned=self.unpruned if prune else (),
            still_failed=tuple(self.still_failed),
            drawn=self.drawn,
            unreadable=tuple(self.scan.unreadable),
        )
