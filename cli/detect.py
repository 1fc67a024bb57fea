"""`dcsearch detect`: a phrase and photos in, boxes out; no index is needed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.exits import DONE, NOTHING_FOUND, SOME_PHOTOS_FAILED
from cli.given import GivenPhotos
from cli.options import (
    Device,
    Format,
    Json,
    MaxMegapixels,
    MinScore,
    Model,
    On,
    OutputFormat,
    Print0,
    Save,
    ScoredBy,
    Top,
    chosen_format,
    chosen_score,
)
from cli.query import check_pictures
from cli.render import (
    Output,
    add_row,
    box_numbers,
    box_text,
    number,
    path_fields,
    plain_table,
    write,
)
from cli.terminal import short_path, shown, warn, warn_of_unknown_words

if TYPE_CHECKING:
    from rich.table import Table

    from dcsearch.detection import Detection
    from dcsearch.model.checkpoint import Checkpoint
    from dcsearch.phrase import Phrase

HEADER = (
    "path", "width", "height", "phrase",
    "x0", "y0", "x1", "y1", "score", "log_likelihood", "log_prior", "objectness", "caption",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DetectedPhoto:
    """A photo and where the phrase was found in it, best first; perhaps nowhere."""

    path: Path
    width: int
    height: int
    detections: "tuple[Detection, ...]"


def detect(
    context: typer.Context,
    phrase: Annotated[
        str, typer.Argument(metavar="PHRASE", show_default=False, help="What to look for.")
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE", show_default=False, help="Photos, or folders of them, to look in."
        ),
    ],
    top: Top = 5,
    min_score: MinScore = None,
    score: ScoredBy = None,
    format: OutputFormat = Format.table,
    json: Json = False,
    print0: Print0 = False,
    save: Save = None,
    model: Model = None,
    device: On = Device.auto,
    max_megapixels: MaxMegapixels = 200.0,
) -> None:
    """Find every place in the given photos that a phrase describes."""
    format = chosen_format(context, format, json=json, print0=print0)
    check_pictures(save, None)

    from dcsearch.describe import Describer
    from dcsearch.detection import detect as detections_of
    from dcsearch.mixed_score import MixedScorer
    from dcsearch.model.checkpoint import load_checkpoint
    from dcsearch.phrase import read_phrase

    checkpoint = load_checkpoint(model)
    wanted = read_phrase(phrase, checkpoint.vocabulary)
    warn_of_unknown_words(wanted.unknown)
    photos = GivenPhotos(images, max_megapixels=max_megapixels)
    scorer = MixedScorer(checkpoint, chosen_score(score), device=device.value)
    found = []
    for path, description in photos.described(Describer(checkpoint, device=device.value)):
        detections = detections_of(description, wanted, scorer, top=top, min_score=min_score)
        found.append(
            DetectedPhoto(
                path=path,
                width=description.width,
                height=description.height,
                detections=tuple(detections),
            )
        )
    write(_output(found, wanted, checkpoint, photos), format, print0=print0)
    if save is not None:
        _save(found, phrase, save)
    if photos.failed:
        raise typer.Exit(SOME_PHOTOS_FAILED)
    if not any(photo.detections for photo in found):
        warn(_nothing_found(phrase, found, min_score))
        raise typer.Exit(NOTHING_FOUND)
    raise typer.Exit(DONE)


def _output(
    found: list[DetectedPhoto], phrase: "Phrase", checkpoint: "Checkpoint", photos: GivenPhotos
) -> Output:
    items = [
        {
            **path_fields(photo.path),
            "width": photo.width,
            "height": photo.height,
            "regions": [_region(phrase.text, detection) for detection in photo.detections],
        }
        for photo in found
    ]
    return Output(
        document={
            "query": {"phrases": [phrase.text]},
            "model": {"name": checkpoint.name, "sha256": checkpoint.sha256},
            "unknown_words": [
                {"word": unknown.word, "nearest": list(unknown.nearest)}
                for unknown in phrase.unknown
            ],
            "results": items,
            "failed": photos.failed_documents(),
        },
        items=items,
        header=HEADER,
        rows=[
            [
                str(photo.path),
                photo.width,
                photo.height,
                phrase.text,
                *box_numbers(detection.box),
                number(detection.score),
                number(detection.log_likelihood),
                number(detection.log_prior),
                number(detection.objectness),
                detection.caption,
            ]
            for photo in found
            for detection in photo.detections
        ],
        paths=[photo.path for photo in found if photo.detections],
        table=lambda: _table(found),
    )


def _region(phrase: str, detection: "Detection") -> dict[str, Any]:
    return {
        "phrase": phrase,
        "box": box_numbers(detection.box),
        "score": number(detection.score),
        "log_likelihood": number(detection.log_likelihood),
        "log_prior": number(detection.log_prior),
        "objectness": number(detection.objectness),
        "caption": detection.caption,
    }


def _table(found: list[DetectedPhoto]) -> "Table":
    table = plain_table("photo", "score", "box", "caption")
    for photo in found:
        name = short_path(photo.path)
        for detection in photo.detections:
            score, box = f"{detection.score:.2f}", box_text(detection.box)
            add_row(table, name, score, box, detection.caption)
            name = ""
    return table


def _save(found: list[DetectedPhoto], phrase: str, folder: Path) -> None:
    from cli.album import Album
    from cli.picture import Mark

    album = Album(folder)
    for rank, photo in enumerate(found, start=1):
        marks = [
            Mark(box=detection.box, label=shown(phrase), note=f"{detection.score:.2f}")
            for detection in photo.detections
        ]
        if marks:
            size = (photo.width, photo.height)
            album.add(photo.path, marks, rank=rank, of=len(found), size=size)
    album.report()


def _nothing_found(phrase: str, found: list[DetectedPhoto], min_score: float | None) -> str:
    where = "the photo" if len(found) == 1 else f"any of the {len(found)} photos"
    if not found:
        return "no photo was given; name photos, or folders that hold some"
    if min_score is not None:
        return f"'{phrase}' scores {min_score:g} or more nowhere in {where}; lower --min-score"
    return f"the network sees no region in {where}"
