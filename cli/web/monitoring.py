"""Monitoring: whether the server lives, whether it can answer, and what it counts."""

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from cli.web.errors import RETRY_AFTER, sentence
from cli.web.service import Service
from dcsearch.errors import DcsearchError

_NO_STORE = {"Cache-Control": "no-store"}


def monitoring_router(service: Service) -> APIRouter:
    """The routes that programs ask which watch over the server."""
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz")
    async def alive() -> Response:
        return PlainTextResponse("ok\n", headers=_NO_STORE)

    @router.get("/readyz")
    async def ready(request: Request) -> Response:
        try:
            await service.ready(request)
        except DcsearchError as error:
            # Who need not know the password learns nothing of files and databases.
            told = sentence(error) if request.state.knows_password else "not ready"
            headers = {**_NO_STORE, "Retry-After": str(RETRY_AFTER)}
            return PlainTextResponse(f"{told}\n", 503, headers)
        return PlainTextResponse("ready\n", headers=_NO_STORE)

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        text = await service.reads.run(request, service.metrics.text)
        return Response(text, media_type=CONTENT_TYPE_LATEST, headers=_NO_STORE)

    return router
