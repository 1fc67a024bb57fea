"""Pages: searching, as HTML that works without a script."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from cli.web.admission import Busy
from cli.web.answers import KeptAnswer
from cli.web.errors import NotFound, retry_headers, sentence, status_of
from cli.web.form import form_question, is_roundabout, start_of
from cli.web.frame import page
from cli.web.histogram import histogram
from cli.web.past import plain_question
from cli.web.questions import Asked
from cli.web.service import Service
from cli.web.templating import STATIC
from cli.web.tiles import AT_ONCE, tiles
from dcsearch.errors import (
    CheckpointError,
    DcsearchError,
    IndexAway,
    IndexUnusable,
    UsageError,
)
from indexer import Answer, PhotoFacts
from indexer.document import answer_document, number

_FOUND = 300  # photos whose dates and cameras are counted
_RECENT = 8  # questions that the first page names


def pages_router(service: Service) -> APIRouter:
    """The routes of the first page, of results, and of what pages are made of."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    @router.get("/")
    async def search(request: Request) -> Response:
        try:
            asked = form_question(request)
        except UsageError as error:
            return await _front(service, request, sentence(error))
        if asked.empty:
            return await _front(service, request)
        if is_roundabout(request):
            return RedirectResponse(asked.url(), 303)
        start = start_of(request)
        try:
            kept = await service.answer(request, asked, top=start + AT_ONCE, record=not start)
            shown = await _shown(service, request, asked, kept, start)
        except (DcsearchError, Busy) as error:
            return page(
                "search.html",
                asked,
                status=status_of(error),
                headers=retry_headers(error),
                problem=sentence(error),
            )
        return page(
            "search.html",
            asked,
            **shown,
            start=start,
            notes=_notes(kept.answer),
            problem=None,
        )

    @router.get("/more")
    async def more(request: Request) -> Response:
        asked, start = form_question(request), start_of(request)
        kept = await service.answer(request, asked, top=start + AT_ONCE)
        return page("more.html", **await _shown(service, request, asked, kept, start))

    @router.get("/found")
    async def found(request: Request) -> Response:
        asked = form_question(request)
        kept = await service.answer(request, asked, top=_FOUND)
        ids = [result.photo_id for result in kept.answer.results if result.photo_id]
        facts = list((await service.facts(request, ids)).values())
        return page("found.html", bars=_bars(asked, facts), cameras=_cameras(asked, facts))

    @router.get("/ready", status_code=204)
    async def ready() -> Response:
        return Response(status_code=204, headers={"Cache-Control": "no-store"})

    @router.get("/static/{name}")
    async def static(name: str) -> Response:
        if name not in STATIC:
            raise NotFound("there is no such file")
        file = STATIC[name]
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(file.data, media_type=file.kind, headers=headers)

    return router


async def _front(service: Service, request: Request, problem: str | None = None) -> Response:
    """The page before anything was asked, or after something that cannot be."""
    code = 200 if problem is None else 422
    counts, recent = None, []
    headers: dict[str, str] = {}
    try:
        counts = await service.status(request)
        recent = await service.history(request, limit=_RECENT)
        if not counts.done and problem is None:
            problem = "the index holds no photos yet; add some with: dcsearch index PHOTOS"
    except (IndexUnusable, CheckpointError) as error:
        problem = problem or sentence(error)
        if isinstance(error, IndexAway):
            code, headers = status_of(error), retry_headers(error)
    phrases = dict.fromkeys(past.phrases for past in recent)
    questions = [(each, plain_question(each)) for each in phrases]
    return page(
        "front.html",
        status=code,
        headers=headers,
        counts=counts,
        recent=[(" · ".join(each), asked.url()) for each, asked in questions if asked],
        problem=problem,
        folders=service.indexing.folders,
    )


async def _shown(
    service: Service, request: Request, asked: Asked, kept: KeptAnswer, start: int
) -> dict[str, Any]:
    """The results of a page, for its template."""
    end = start + AT_ONCE
    answer = replace(kept.answer, results=kept.answer.results[start:end])
    earlier = kept.answer.results[:start]
    before = number(earlier[-1].score) if earlier else math.inf
    ids = [result.photo_id for result in answer.results if result.photo_id is not None]
    facts = await service.facts(request, ids)
    further = len(kept.answer.results) > end or not kept.whole
    document = answer_document(answer)
    return {
        "answer": document,
        "tiles": tiles(document["results"], answer.phrases, facts, asked, before=before),
        "more": asked.url("/", start=end) if further else None,
        "bars": _bars(asked, facts.values()),
    }


def _notes(answer: Answer) -> list[str]:
    """What is said beside the results: words that were asked otherwise, or left out."""
    notes = [each.sentence for each in answer.substitutions]
    for unknown in answer.unknown_words:
        nearest = f"; nearest known: {', '.join(unknown.nearest)}" if unknown.nearest else ""
        notes.append(f'the model does not know "{unknown.word}" and leaves it out{nearest}')
    return notes


def _bars(asked: Asked, facts: Iterable[PhotoFacts]) -> list[dict[str, Any]]:
    """When photos were taken, each bar with the address of the question about its photos."""
    moments = [each.taken_at for each in facts if each.taken_at is not None]
    return [
        {"bar": bar, "url": asked.changed(after=bar.start, before=bar.end).url()}
        for bar in histogram(moments)
    ]


def _cameras(asked: Asked, facts: Iterable[PhotoFacts]) -> list[tuple[str, int, str]]:
    """Cameras, how many photos are of each, and the address of the question about these."""
    counts = Counter(each.camera for each in facts if each.camera)
    return [
        (camera, number, asked.changed(camera=(camera,)).url())
        for camera, number in counts.most_common(12)
    ]
