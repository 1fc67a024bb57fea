"""The API under /api/v1: the library's answers as the JSON that `--format json` prints."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import ConfigDict, Field

from cli.render import document_bytes
from cli.web import schemas
from cli.web.admission import Busy
from cli.web.answers import MOST_RESULTS, KeptAnswer
from cli.web.errors import NotFound
from cli.web.indexing import run_document
from cli.web.questions import Asked
from cli.web.service import Service
from cli.web.uploads import Upload
from dcsearch.errors import Cure, UsageError
from indexer.document import (
    answer_document,
    past_query_document,
    path_fields,
    photo_document,
    region_document,
    status_document,
)

PhotoId = Annotated[int, Path(ge=1, lt=1 << 62, description="A photo's number in the index.")]
Limit = Annotated[int, Query(ge=1, le=500, description="Results at the most.")]
Cursor = Annotated[
    str,
    Query(
        max_length=20,
        pattern="^[0-9]*$",
        description="Where to go on: from the header `Link: <...>; rel=next` of the answer before.",
    ),
]
Record = Annotated[bool, Query(description="Keep the question in the history.")]


class SearchParameters(Asked):
    """A question, and how much of its answer is wanted."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=500, description="Results at the most.")] = 30
    cursor: Annotated[
        str,
        Field(
            max_length=20,
            pattern="^[0-9]*$",
            description="Where to go on: from `Link: <...>; rel=next` of the answer before.",
        ),
    ] = ""
    explain: Annotated[bool, Field(description="Say what each word adds.")] = False
    record: Annotated[bool, Field(description="Keep the question in the history.")] = True

    def asked(self) -> Asked:
        """The question alone.

        Raises:
            UsageError: there is none.
        """
        if self.empty:
            raise UsageError("there is no phrase", Cure.ASK)
        return Asked.model_construct(**{name: getattr(self, name) for name in Asked.model_fields})


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    said = {
        404: "There is no such thing.",
        409: "There is no index, or one that cannot be used with this model.",
        413: "Too many bytes.",
        422: "A value cannot be used.",
        503: "Too much is waiting; `Retry-After` says when to ask again.",
    }
    return {
        status: {"model": schemas.ErrorBody, "description": said[status]} for status in statuses
    }


def api_router(service: Service) -> APIRouter:
    """The routes of the API."""
    router = APIRouter(prefix="/api/v1", tags=["dcsearch"])

    @router.get(
        "/search",
        summary="Photos that show phrases, or regions like others, and where",
        response_model=schemas.AnswerBody,
        responses=_errors(409, 422, 503),
    )
    async def search(request: Request, search: Annotated[SearchParameters, Query()]) -> Response:
        start = _start(search.cursor)
        kept = await service.answer(
            request,
            search.asked(),
            top=start + search.limit,
            explain=search.explain,
            record=search.record,
        )
        return _page(request, kept, start, search.limit)

    @router.get(
        "/similar",
        summary="Photos with a region like one of a photo, or of an upload",
        response_model=schemas.AnswerBody,
        responses=_errors(409, 422, 503),
    )
    async def similar(
        request: Request,
        photo: Annotated[
            str, Query(max_length=80, description="A photo's number, or `u-NAME` of an upload.")
        ],
        box: Annotated[
            str, Query(max_length=80, description="x0,y0,x1,y1; all of the photo without it.")
        ] = "",
        min_score: Annotated[float | None, Query(allow_inf_nan=False)] = None,
        per_image: Annotated[int, Query(ge=1, le=20)] = 1,
        limit: Limit = 30,
        cursor: Cursor = "",
        record: Record = True,
    ) -> Response:
        like = (f"{photo}@{box}" if box else photo,)
        asked = Asked(like=like, min_score=min_score, per_image=per_image)
        start = _start(cursor)
        kept = await service.answer(request, asked, top=start + limit, record=record)
        return _page(request, kept, start, limit)

    @router.get(
        "/captions",
        summary="Photos in which one caption has all of the words",
        response_model=schemas.AnswerBody,
        responses=_errors(409, 422, 503),
    )
    async def captions(
        request: Request,
        words: Annotated[str, Query(max_length=500, examples=["red bus"])],
        limit: Limit = 30,
    ) -> Response:
        answer = await service.read(request, lambda index: index.text(words, top=limit))
        return _json(answer_document(answer))

    @router.get(
        "/photos/{photo_id}",
        summary="A photo of the index with its regions",
        response_model=schemas.PhotoBody,
        responses=_errors(404, 409, 422, 503),
    )
    async def photo(request: Request, photo_id: PhotoId, limit: Limit = 100) -> Response:
        found, _ = await service.photo(request, photo_id)
        return _json({"photo": photo_document(found, top=limit)})

    @router.get(
        "/photos/{photo_id}/regions",
        summary="All regions of a photo, scored and explained for a question",
        response_model=schemas.AnswerBody,
        responses=_errors(404, 409, 422, 503),
    )
    async def regions(
        request: Request, photo_id: PhotoId, asked: Annotated[Asked, Query()]
    ) -> Response:
        found, _ = await service.photo(request, photo_id)
        return _json(answer_document(await service.regions(request, asked, found)))

    @router.get(
        "/history",
        summary="Past queries, newest first",
        response_model=schemas.HistoryBody,
        responses=_errors(409, 422, 503),
    )
    async def history(request: Request, limit: Limit = 30, cursor: Cursor = "") -> Response:
        before = int(cursor) if cursor else None
        queries = await service.history(request, limit=limit + 1, before=before)
        further = len(queries) > limit
        queries = queries[:limit]
        response = _json({"queries": [past_query_document(past) for past in queries]})
        if further:
            _link(request, response, str(queries[-1].query_id))
        return response

    @router.get(
        "/history/{query_id}",
        summary="A past answer, as it was given",
        response_model=schemas.AnswerBody,
        responses=_errors(404, 409, 422, 503),
    )
    async def past_answer(request: Request, query_id: int) -> Response:
        try:
            answer = await service.read(request, lambda index: index.past_answer(query_id))
        except UsageError:
            raise NotFound(f"there is no query {query_id} in the history") from None
        return _json(answer_document(answer))

    @router.get(
        "/status",
        summary="What the index holds, and what failed",
        response_model=schemas.StatusBody,
        responses=_errors(409, 503),
    )
    async def status(request: Request) -> Response:
        return _json(status_document(await service.status(request)))

    @router.post(
        "/uploads",
        summary="Find the regions of a picture that is not in the index",
        description="The form field `photo` has the picture. It is kept in memory for a while.",
        status_code=201,
        response_model=schemas.UploadBody,
        responses=_errors(409, 413, 422, 503),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "required": ["photo"],
                            "properties": {"photo": {"type": "string", "format": "binary"}},
                        }
                    }
                },
            }
        },
    )
    async def upload(request: Request) -> Response:
        return _json(_upload_document(await service.upload(request)), status=201)

    @router.get(
        "/uploads/{name}",
        summary="An uploaded picture with its regions",
        response_model=schemas.UploadBody,
        responses=_errors(404),
    )
    async def uploaded(name: Annotated[str, Path(max_length=64)]) -> Response:
        return _json(_upload_document(service.uploads.get(name)))

    @router.get(
        "/indexing",
        summary="The folders that may be indexed, and the run",
        response_model=schemas.IndexingBody,
    )
    async def indexing() -> Response:
        return _json(_indexing_document(service))

    @router.post(
        "/indexing",
        summary="Index a folder by its number",
        status_code=202,
        response_model=schemas.IndexingBody,
        responses=_errors(404, 409, 422),
    )
    async def start_indexing(
        folder: Annotated[int, Query(ge=0, description="Of `folders`, from 0.")] = 0,
    ) -> Response:
        service.indexing.start(folder)
        return _json(_indexing_document(service), status=202)

    @router.delete(
        "/indexing",
        summary="Stop the run; what it has done is kept",
        status_code=202,
        response_model=schemas.IndexingBody,
        responses=_errors(409),
    )
    async def stop_indexing() -> Response:
        service.indexing.stop()
        return _json(_indexing_document(service), status=202)

    @router.get(
        "/events",
        summary="What the index holds and how far a run is, as server-sent events",
        response_class=StreamingResponse,
        responses=_errors(503),
    )
    async def events() -> StreamingResponse:
        if service.events.full:
            raise Busy(5)
        return StreamingResponse(
            service.events.stream(),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store"},
        )

    return router


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(
        document_bytes(document, indent=None),  # over lines, it takes Python several times as long
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _start(cursor: str) -> int:
    start = int(cursor or 0)
    if start >= MOST_RESULTS:
        raise UsageError(f"results are given up to the {MOST_RESULTS:,}th; ask a narrower question")
    return start


def _page(request: Request, kept: KeptAnswer, start: int, limit: int) -> Response:
    """Some results of an answer, with a link to the next ones where there are more."""
    results = kept.answer.results[start : start + limit]
    response = _json(answer_document(replace(kept.answer, results=results)))
    if len(kept.answer.results) > start + limit or not kept.whole:
        _link(request, response, str(start + limit))
    return response


def _link(request: Request, response: Response, cursor: str) -> None:
    url = request.url.include_query_params(cursor=cursor)
    response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'


def _upload_document(upload: Upload) -> dict[str, Any]:
    regions = [region_document(rank, each) for rank, each in enumerate(upload.regions, start=1)]
    return {
        "upload": {
            "name": upload.name,
            "title": upload.title,
            "width": upload.width,
            "height": upload.height,
            "regions": regions,
        }
    }


def _indexing_document(service: Service) -> dict[str, Any]:
    run = service.indexing.run
    return {
        "folders": [path_fields(folder) for folder in service.indexing.folders],
        "run": None if run is None else run_document(run),
    }
