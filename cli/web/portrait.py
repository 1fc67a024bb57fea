"""Portrait: one photo, or an uploaded picture, with all its regions, as its page shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cli.web.chips import COLOURS
from cli.web.evidence import share_of_scale
from cli.web.questions import Asked, Place, round_box
from cli.web.shapes import shape_class
from cli.web.thumbnails import PhotoUnseen, check_file
from cli.web.tiles import PICTURES, Mark, Picture, mark, marks, picture_of
from cli.web.uploads import Upload
from dcsearch.scoring.explanation import END, Explanation
from indexer import AlignedRegion, Answer, IndexedPhoto, PhotoFacts, StoredRegion
from indexer.document import utf8


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A region of the photo.

    Attributes:
        number: by objectness, from 0.
        mark: its box; the colour is that of the phrase that fits it best.
        caption: what the model said of it.
        ask: address of the caption as a question.
        alike: address of the search for regions like it.
        score: for the question's best fitting phrase; None without a question.
    """

    number: int
    mark: Mark
    caption: str
    ask: str
    alike: str
    objectness: float
    score: float | None

    @property
    def area(self) -> float:
        """Square pixels: smaller ones are drawn above larger ones."""
        return self.mark.width * self.mark.height


@dataclass(frozen=True, kw_only=True)
class Term:
    """What a word, or another part of a score, adds to it.

    Attributes:
        label: the word, or what the part is.
        value: added.
        start, length: of its bar, percent of the width; the middle is 0.
        detail: the numbers behind it, in a few words.
    """

    label: str
    value: float
    start: float
    length: float
    detail: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The region that a phrase of the question means in this photo, and why."""

    phrase: str
    colour: int
    caption: str
    score: float
    share: float
    terms: Sequence[Term]


def portrait(
    indexed: IndexedPhoto, facts: PhotoFacts, asked: Asked, scored: Answer | None
) -> dict[str, Any]:
    """The values of the template for a photo of the index.

    Args:
        scored: the question's answer in this photo alone, with all regions.
    """
    unseen = None
    try:
        check_file(facts)
    except PhotoUnseen as error:
        unseen = str(error)
    width, height = indexed.width or 3, indexed.height or 2
    aligned = scored.results[0].regions if scored and scored.results else ()
    phrases = scored.phrases if scored else ()
    best: dict[tuple[float, ...], AlignedRegion] = {}
    for region in aligned:
        known = best.get(region.box)
        if known is None or region.score > known.score:
            best[region.box] = region
    spots = [
        _spot(
            region,
            Place(photo=facts.photo_id, box=round_box(region.box)),
            best.get(region.box),
            phrases,
        )
        for region in indexed.regions
    ]
    if aligned:
        spots.sort(key=lambda spot: -(spot.score if spot.score is not None else -1e9))
    first = {region.phrase: region for region in reversed(aligned)}
    findings = [
        _finding(first[phrase], number) for number, phrase in enumerate(phrases) if phrase in first
    ]
    path = str(indexed.path)
    return {
        "title": utf8(indexed.path.name),
        "path": utf8(path),
        "picture": picture_of(
            facts, width=width, height=height, url=f"{PICTURES}/{facts.photo_id}"
        ),
        "place": str(facts.photo_id),
        "photo_id": facts.photo_id,
        "unseen": unseen,
        "taken_at": indexed.taken_at,
        "camera": facts.camera,
        "spots": spots,
        "findings": findings,
        "marks": marks([(first[each.phrase].box, each.colour) for each in findings]),
        "back": None if asked.empty else asked.url(),
        "before": None,
        "after": None,
    }


def upload_portrait(upload: Upload) -> dict[str, Any]:
    """The values of the template for an uploaded picture."""
    picture = Picture(
        src=f"/api/v1/uploads/{upload.name}/picture.webp",
        srcset="",
        width=upload.width,
        height=upload.height,
        shape=shape_class(upload.width, upload.height),
    )
    return {
        "title": upload.title,
        "path": None,
        "picture": picture,
        "place": f"u-{upload.name}",
        "photo_id": None,
        "unseen": None,
        "taken_at": None,
        "camera": "",
        "spots": [
            _spot(region, Place(upload=upload.name, box=round_box(region.box)), None, ())
            for region in upload.regions
        ],
        "findings": [],
        "marks": [],
        "back": None,
        "before": None,
        "after": None,
    }


def _spot(
    region: StoredRegion, place: Place, scored: AlignedRegion | None, phrases: Sequence[str]
) -> Spot:
    colour = phrases.index(scored.phrase) % COLOURS if scored else 0
    return Spot(
        number=region.rank,
        mark=mark(region.box, colour),
        caption=region.caption,
        ask=Asked(q=(region.caption,)).url() if region.caption else "",
        alike=Asked(like=(str(place),)).url(),
        objectness=region.objectness,
        score=scored.score if scored else None,
    )


def _finding(region: AlignedRegion, number: int) -> Finding:
    terms = [] if region.explanation is None else _terms(region.explanation)
    return Finding(
        phrase=region.phrase,
        colour=number % COLOURS,
        caption=region.caption,
        score=region.score,
        share=share_of_scale(region.score),
        terms=terms,
    )


def _terms(explanation: Explanation) -> list[Term]:
    parts = [
        (
            "(end)" if each.word == END else each.word,
            each.evidence,
            f"log p {each.log_likelihood:.2f} here, {each.log_prior:.2f} anywhere",
        )
        for each in explanation.words
    ]
    if explanation.similarity is not None:
        near = f"cosine of phrase and region {explanation.similarity:.2f}"
        parts.append(("embedding", explanation.similarity_score, near))
    thing = f"{explanation.objectness:.2f}: how sure the model is that this is a thing"
    parts.append(("objectness", explanation.objectness_score, thing))
    if explanation.hubness is not None:
        anyhow = f"hubness {explanation.hubness:.2f}: how well the photo answers anything"
        parts.append(("photo", explanation.photo_score, anyhow))
    most = max(abs(value) for _, value, _ in parts) or 1.0
    return [
        Term(
            label=label,
            value=value,
            start=50.0 if value >= 0 else 50.0 - 50.0 * abs(value) / most,
            length=50.0 * abs(value) / most,
            detail=detail,
        )
        for label, value, detail in parts
    ]
