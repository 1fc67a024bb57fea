"""The application: its routes, its checks, and what it does with errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cli.web.admission import Busy, ClientLeft
from cli.web.api import api_router
from cli.web.errors import retry_headers, sentence, status_of
from cli.web.frame import page
from cli.web.list_pages import list_pages_router
from cli.web.monitoring import monitoring_router
from cli.web.pages import pages_router
from cli.web.photo_pages import photo_pages_router
from cli.web.photos import photos_router
from cli.web.security import Security
from cli.web.served import ServedIndex
from cli.web.service import Service
from cli.web.settings import Settings
from dcsearch import __version__
from dcsearch.errors import DcsearchError

_GONE = 499  # as some proxies say it: nobody reads this


def make_application(settings: Settings, served: ServedIndex | None = None) -> FastAPI:
    """The application of a server.

    Args:
        served: the index, where it is open already.
    """
    service = Service(settings, served or ServedIndex(settings))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.events.close()
        service.close()

    app = FastAPI(
        title="dcsearch",
        version=__version__,
        summary="Photos, and the regions in them, by phrases.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    for router in (
        api_router,
        photos_router,
        pages_router,
        photo_pages_router,
        list_pages_router,
        monitoring_router,
    ):
        app.include_router(router(service))
    app.add_middleware(Security, settings=settings)

    async def problem(request: Request, error: Exception) -> Response:
        status, said = status_of(error), sentence(error)
        return _answer(request, status, said, retry_headers(error))

    async def left(request: Request, error: Exception) -> Response:
        return Response(status_code=_GONE)

    async def http_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = {404: "there is no such page", 405: "this cannot be done here"}
        text = said.get(error.status_code, str(error.detail))
        return _answer(request, error.status_code, text, dict(error.headers or {}))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        name = str(first["loc"][-1])
        return _answer(request, 422, f"'{name}' cannot be used: {first['msg'].lower()}", {})

    for kind in (DcsearchError, Busy, Exception):
        app.add_exception_handler(kind, problem)
    for kind in (ClientLeft, ClientDisconnect):
        app.add_exception_handler(kind, left)
    app.add_exception_handler(HTTPException, http_problem)
    app.add_exception_handler(RequestValidationError, invalid)
    return app


def _answer(request: Request, status: int, said: str, headers: dict[str, str]) -> Response:
    """A problem as JSON to programs, as a page to people."""
    headers = {**headers, "Cache-Control": "no-store"}
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": said, "status": status}, status, headers)
    return page("problem.html", status=status, headers=headers, said=said, code=status)
