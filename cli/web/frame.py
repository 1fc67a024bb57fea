"""Frame: what every page has around its own part: the search field, its chips and its panel."""

from collections.abc import Mapping
from typing import Any

from fastapi.responses import HTMLResponse

from cli.web.chips import RELATED, chips
from cli.web.evidence import CUT_OFFS, GREATEST, meaning
from cli.web.form import ANY_SCORE
from cli.web.questions import Asked
from cli.web.sentences import question_sentence
from cli.web.templating import render
from dcsearch.errors import UsageError

_NO_STORE = {"Cache-Control": "no-cache"}  # kept for going back, and asked for again otherwise


def page(
    template: str,
    asked: Asked | None = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> HTMLResponse:
    """A page.

    Args:
        template: its name.
        asked: what the search field holds; None: nothing.
        values: of the template.
    """
    asked = asked or Asked()
    text = render(template, **_field(asked) | values)
    return HTMLResponse(text, status, headers=_NO_STORE | dict(headers or {}))


def _field(asked: Asked) -> dict[str, Any]:
    """What the search field and the panel beside it show."""
    try:
        shown = chips(asked)
    except UsageError:
        shown = []
    return {
        "asked": asked,
        "chips": shown,
        "sentence": "" if asked.empty else question_sentence(asked),
        "related": RELATED,
        "bars": [],
        "any_score": ANY_SCORE,
        "greatest_score": GREATEST,
        "meanings": {cut_off.score: meaning(cut_off) for cut_off in CUT_OFFS},
    }
