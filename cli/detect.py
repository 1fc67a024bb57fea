"""`dcsearch detect`: boxes of a phrase in given photos, without an index."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.exits import DONE, NOTHING_FOUND, SOME_PHOTOS_FAILED
from cli.given import GivenPhotos
from cli.options import Literally, MaxMegapixels, MinScore, Save, ScoredBy, Top
from cli.render import (
    Output,
    add_row,
    box_numbers,
    box_text,
    match_text,
    number,
    optional_number,
    path_fields,
    plain_table,
    score_text,
    write,
)
from cli.shared import Computing, Pictures, Results, grouped
from cli.terminal import short_path, shown, tell_substitutions, warn, warn_of_unknown_words

if TYPE_CHECKING:
    from rich.table import Table

    from dcsearch.checkpoint.checkpoint import Checkpoint
    from dcsearch.scoring.detection import Detection
    from dcsearch.scoring.phrase import Phrase

HEADER = (
    "path", "width", "height", "phrase",
    "x0", "y0", "x1", "y1", "score", "log_likelihood", "log_prior", "objectness", "caption",
    "match",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DetectedPhoto:
    """A photo and where the phrase was found in it, best first; perhaps nowhere."""

    path: Path
    width: int
    height: int
    detections: "tuple[Detection, ...]"


@grouped
def detect(
    context: typer.Context,
    *,
    phrase: Annotated[
        str, typer.Argument(metavar="PHRASE", show_default=False, help="What to search for.")
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE", show_default=False, help="Photos to search, or folders of photos."
        ),
    ],
    top: Top = 5,
    min_score: MinScore = None,
    score: ScoredBy = None,
    literal: Literally = False,
    results: Results,
    save: Save = None,
    computing: Computing,
    max_megapixels: MaxMegapixels = 200.0,
) -> None:
    """Find the regions of the given photos that a phrase describes; no index is needed."""
    format = results.chosen(context)
    Pictures(save=save).check()

    from dcsearch.checkpoint.checkpoint import default_checkpoint_path, load_checkpoint
    from dcsearch.describe import Describer
    from dcsearch.scoring.detection import detect as detections_of
    from dcsearch.scoring.phrase import read_phrase
    from dcsearch.scoring.torch_engine import torch_scorer
    from dcsearch.words.substitution import Substitutions

    checkpoint = load_checkpoint(computing.model)
    weights = computing.model or default_checkpoint_path()
    substitutions = Substitutions.beside(weights, checkpoint.vocabulary)
    wanted = read_phrase(
        phrase, checkpoint.vocabulary, substitutions=None if literal else substitutions
    )
    tell_substitutions(wanted.substitutions)
    warn_of_unknown_words(wanted.unknown)
    photos = GivenPhotos(images, max_megapixels=max_megapixels)
    scorer = torch_scorer(checkpoint, score, device=computing.device.value)
    curve = checkpoint.match
    if curve is not None and not curve.fits(scorer.weights):
        curve = None
    found = []
    for path, description in photos.described(Describer(checkpoint, device=computing.device.value)):
        detections = detections_of(
            description, wanted, scorer, top=top, min_score=min_score, match=curve
        )
        found.append(
            DetectedPhoto(
                path=path,
                width=description.width,
                height=description.height,
                detections=tuple(detections),
            )
        )
    write(_output(found, wanted, checkpoint, photos), format, print0=results.print0)
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
            "substitutions": [each.to_json() for each in phrase.substitutions],
            "results": items,
            "failed": photos.failed_documents(),
        },
        items=items,
        header=HEADER,
        rows=[
            [
                path_fields(photo.path)["path"],
                photo.width,
                photo.height,
                phrase.text,
                *box_numbers(detection.box),
                number(detection.score),
                number(detection.log_likelihood),
                number(detection.log_prior),
                number(detection.objectness),
                detection.caption,
                optional_number(detection.match),
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
        "match": optional_number(detection.match),
        "log_likelihood": number(detection.log_likelihood),
        "log_prior": number(detection.log_prior),
        "objectness": number(detection.objectness),
        "caption": detection.caption,
    }


def _table(found: list[DetectedPhoto]) -> "Table":
    matches = any(each.match is not None for photo in found for each in photo.detections)
    columns = ("match",) if matches else ()
    table = plain_table("photo", "score", *columns, "box", "caption")
    for photo in found:
        name = short_path(photo.path)
        for detection in photo.detections:
            score, box = f"{detection.score:.2f}", box_text(detection.box)
            match = (match_text(detection.match),) if matches else ()
            add_row(table, name, score, *match, box, detection.caption)
            name = ""
    return table


def _save(found: list[DetectedPhoto], phrase: str, folder: Path) -> None:
    from cli.pictures.album import Album
    from cli.pictures.picture import Mark

    album = Album(folder)
    for rank, photo in enumerate(found, start=1):
        marks = [
            Mark(
                box=detection.box,
                label=shown(phrase),
                note=score_text(detection.score, detection.match),
            )
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
