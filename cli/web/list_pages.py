"""List pages: what was asked, and what the index holds."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from cli.web.chips import chips
from cli.web.errors import retry_headers, sentence, status_of
from cli.web.form import number_of
from cli.web.frame import page
from cli.web.past import past_question, plain_question
from cli.web.sentences import question_sentence
from cli.web.service import Service
from cli.web.tiles import PICTURES, Picture, picture_of
from dcsearch.errors import IndexAway, IndexUnusable
from indexer import Index, PastQuery, PhotoFacts, PhotoResult
from indexer.document import status_document

_AT_ONCE = 20  # queries of a page
_PICTURES = 6  # of a query


def list_pages_router(service: Service) -> APIRouter:
    """The routes of the history and of the status."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    @router.get("/history")
    async def history(request: Request) -> Response:
        queries = await service.history(
            request, limit=_AT_ONCE + 1, before=number_of(request, "before")
        )
        shown = queries[:_AT_ONCE]
        entries = await service.read(request, lambda index: [_entry(index, past) for past in shown])
        older = f"/history?before={shown[-1].query_id}" if len(queries) > _AT_ONCE else None
        return page("history.html", entries=entries, older=older)

    @router.get("/status")
    async def status(request: Request) -> Response:
        document, problem, code = None, None, 200
        headers: dict[str, str] = {}
        try:
            document = status_document(await service.status(request))
        except IndexUnusable as error:
            problem = sentence(error)
            if isinstance(error, IndexAway):
                code, headers = status_of(error), retry_headers(error)
        return page(
            "status.html",
            status=code,
            headers=headers,
            held=document,
            problem=problem,
            folders=service.indexing.folders,
            run=service.indexing.run,
        )

    @router.post("/status/start")
    async def start(folder: Annotated[int, Form(ge=0)]) -> Response:
        service.indexing.start(folder)
        return RedirectResponse("/status", 303)

    @router.post("/status/stop")
    async def stop() -> Response:
        service.indexing.stop()
        return RedirectResponse("/status", 303)

    return router


def _entry(index: Index, past: PastQuery) -> dict[str, Any]:
    """A past query, with its first photos and what asks it again."""
    results = index.past_answer(past.query_id).results[:_PICTURES]
    facts = index.facts([result.photo_id for result in results if result.photo_id])
    asked = past_question(index, past)
    return {
        "past": past,
        "url": None if asked is None else asked.url(),
        "labels": past.phrases if asked is None else [chip.label for chip in chips(asked)],
        "sentence": ""
        if asked in (None, plain_question(past.phrases))
        else question_sentence(asked),
        "pictures": [_picture(result, facts) for result in results],
    }


def _picture(result: PhotoResult, facts: dict[int, PhotoFacts]) -> Picture:
    number = result.photo_id or 0
    return picture_of(
        facts.get(number), width=result.width, height=result.height, url=f"{PICTURES}/{number}"
    )
