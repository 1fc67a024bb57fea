"""Past: the question of a past query, to be asked again."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from cli.web.chips import weighted
from cli.web.questions import RELATIONS, Asked, Place
from dcsearch.errors import UsageError
from indexer import Index, PastQuery, parse_box


def past_question(index: Index, past: PastQuery) -> Asked | None:
    """The question as it was recorded; None where it cannot be asked again from a page: it was
    about a list of photos, or like a photo that is not in the index, or more than pages ask."""
    options = past.options
    if "limit_to" in options:
        return None
    relations = [kind for kind, _ in options.get("relations", ())]
    weights = options.get("weights") or [1.0] * len(past.phrases)
    if len(weights) != len(past.phrases):  # a phrase that stands twice is recorded once
        weights = [1.0] * len(past.phrases)
    regions = set(options.get("like", ()))
    phrases, like = [], []
    related: dict[str, list[str]] = {kind: [] for kind in RELATIONS}
    first_related = len(past.phrases) - len(relations)
    for number, (text, weight) in enumerate(zip(past.phrases, weights, strict=True)):
        if text in regions:
            place = _place(index, text)
            if place is None:
                return None
            like.append(weighted(str(place), weight))
        elif number >= first_related > 0:
            related[relations[number - first_related]].append(weighted(text, weight))
        else:
            phrases.append(weighted(text, weight))
    area = options.get("min_area")
    return _asked(
        {
            "q": phrases,
            "like": like,
            "not": options.get("not", ()),
            "together": options.get("together", "photo"),
            **related,
            "count": options.get("count", ""),
            "min_area": "" if area is None else f"{100 * area:g}%",
            "min_score": options.get("min_score"),
            "path": options.get("path", ""),
            "after": options.get("after", ""),
            "before": options.get("before", ""),
            "camera": options.get("camera", ()),
            "literal": options.get("literal", False),
            "exact": options.get("exact", False),
            "score": options.get("score"),
        }
    )


def plain_question(phrases: tuple[str, ...]) -> Asked | None:
    """The question for phrases alone; None where they are more than a page can ask for."""
    return _asked({"q": phrases})


def _asked(values: Mapping[str, Any]) -> Asked | None:
    try:
        return Asked.model_validate(values)
    except ValidationError:
        return None


def _place(index: Index, text: str) -> Place | None:
    """The region that "PATH:x0,y0,x1,y1" means; None where the index does not have the photo."""
    path, _, corners = text.rpartition(":")
    box = None
    try:
        box = parse_box(corners)
    except UsageError:
        path = text
    try:
        photo = index.show(path)
    except UsageError:
        return None
    return Place(photo=photo.photo_id, box=box)
