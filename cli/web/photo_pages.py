"""Photo pages: one photo of the index, or an uploaded picture, with all its regions."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from cli.web.form import form_question, number_of
from cli.web.frame import page
from cli.web.portrait import portrait, upload_portrait
from cli.web.questions import Asked
from cli.web.service import Service
from cli.web.tiles import AT_ONCE
from indexer import Answer


def photo_pages_router(service: Service) -> APIRouter:
    """The routes of single photos, and of pictures that are asked with."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    @router.get("/photos/{photo_id}")
    async def photo(request: Request, photo_id: Annotated[int, Path(ge=1, lt=1 << 62)]) -> Response:
        asked = form_question(request)
        indexed, facts = await service.photo(request, photo_id)
        if asked.empty:
            return page("photo.html", asked, **portrait(indexed, facts, asked, None))
        rank = number_of(request, "rank") or 1
        scored = await service.regions(request, asked, indexed)
        kept = await service.answer(request, asked, top=max(AT_ONCE, min(rank, 5000) + 1))
        before, after = _neighbours(asked, kept.answer, photo_id)
        shown = portrait(indexed, facts, asked, scored)
        return page("photo.html", asked, **shown | {"before": before, "after": after})

    @router.get("/uploads/{name}")
    async def uploaded(name: Annotated[str, Path(max_length=64)]) -> Response:
        return page("photo.html", **upload_portrait(service.uploads.get(name)))

    @router.post("/uploads")
    async def upload(request: Request) -> Response:
        made = await service.upload(request)
        return RedirectResponse(f"/uploads/{made.name}", 303)

    return router


def _neighbours(asked: Asked, answer: Answer, photo_id: int) -> tuple[str | None, str | None]:
    """The addresses of the photos before and after one in an answer."""
    ids = [result.photo_id for result in answer.results]
    if photo_id not in ids:
        return None, None
    place = ids.index(photo_id)

    def url(number: int) -> str | None:
        if not 0 <= number < len(ids) or ids[number] is None:
            return None
        return asked.url(f"/photos/{ids[number]}", rank=number + 1)

    return url(place - 1), url(place + 1)
