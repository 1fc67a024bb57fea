"""Check: whether a dataset can be used, and what it holds."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from dcsearch.data.dataset import Dataset
from dcsearch.data.findings import PROBLEMS, Finding, Kind
from dcsearch.data.formats import DatasetFormat
from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.errors import MachineFault
from dcsearch.machine import machine_fault
from dcsearch.vocabulary import words_of

PROPORTION_TOLERANCE = 0.02  # more than rounding a small photo's sides can make


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """What a dataset holds, what is wrong with it and what the rules of its reader leave out."""

    form: DatasetFormat
    photos: int
    photos_without_regions: int
    regions: int
    phrases: int
    long_phrases: int
    captions: int
    words: int  # in phrases and long phrases
    different_words: int
    problems: dict[Kind, int]  # all of PROBLEMS
    left_out: dict[Kind, int]  # those that occur
    listed: tuple[Finding, ...]  # the first problems of each kind

    def to_json(self) -> dict[str, Any]:
        """Plain values for a file."""
        plain = {key: value for key, value in vars(self).items() if key != "listed"}
        places = [
            {"problem": each.kind, "place": each.place, "reason": each.reason}
            for each in self.listed
        ]
        return plain | {"listed": places}


def check_dataset(
    dataset: Dataset,
    *,
    open_photos: bool = False,
    listed: int = 20,
    report: Callable[[int], None] | None = None,
) -> DataCheck:
    """Read all of a dataset, past every problem.

    Args:
        dataset: of any format.
        open_photos: decode every photo too, and compare its proportions with the annotation's.
        listed: so many problems of each kind are kept with their place.
        report: called with the number of photos done.

    Raises:
        DataError: the dataset cannot be found, or a file of it cannot be read at all.
        UsageError: the dataset's options do not fit its format.
        MachineFault: the machine does not let a photo be read just now.
    """
    kinds: Counter[Kind] = Counter()
    first: list[Finding] = []
    counts: Counter[str] = Counter()
    words: Counter[str] = Counter()
    paths: set[str] = set()

    def found(finding: Finding) -> None:
        kinds[finding.kind] += 1
        if finding.kind in PROBLEMS and kinds[finding.kind] <= listed:
            first.append(finding)

    for photo in dataset.photos(found):
        counts["photos"] += 1
        counts["photos_without_regions"] += not photo.regions
        counts["regions"] += len(photo.regions)
        counts["captions"] += len(photo.captions)
        for region in photo.regions:
            counts["phrases"] += len(region.phrases)
            counts["long_phrases"] += len(region.long_phrases)
            for text in (*region.phrases, *region.long_phrases):
                words.update(words_of(text))
        path = os.path.normpath(photo.path)
        if path in paths:
            found(_problem(Kind.duplicate, photo, "it is annotated more than once"))
        elif not os.path.isfile(photo.path):
            found(_problem(Kind.missing, photo, "there is no such file"))
        elif open_photos:
            for finding in _opened(photo):
                found(finding)
        paths.add(path)
        if report is not None:
            report(counts["photos"])
    return DataCheck(
        form=dataset.recognised_form(),
        photos=counts["photos"],
        photos_without_regions=counts["photos_without_regions"],
        regions=counts["regions"],
        phrases=counts["phrases"],
        long_phrases=counts["long_phrases"],
        captions=counts["captions"],
        words=words.total(),
        different_words=len(words),
        problems={kind: kinds[kind] for kind in PROBLEMS},
        left_out={kind: kinds[kind] for kind in Kind if kind not in PROBLEMS and kinds[kind]},
        listed=tuple(sorted(first, key=lambda finding: PROBLEMS.index(finding.kind))),
    )


def _opened(photo: AnnotatedPhoto) -> list[Finding]:
    try:
        with Image.open(photo.path) as image:
            image.load()
            width, height = image.size
    except Exception as error:  # a damaged file makes Pillow raise almost anything
        if (fault := machine_fault(error)) is not None:
            raise MachineFault(
                f"{photo.path} cannot be read just now: {fault}", fault.cure
            ) from None
        return [_problem(Kind.unreadable, photo, " ".join(str(error).split()))]
    if abs(width / height * photo.height / photo.width - 1) <= PROPORTION_TOLERANCE:
        return []
    reason = f"{width} x {height} pixels, annotated as {photo.width} x {photo.height}"
    return [_problem(Kind.proportions, photo, reason)]


def _problem(kind: Kind, photo: AnnotatedPhoto, reason: str) -> Finding:
    return Finding(kind=kind, place=str(photo.path), reason=reason)
