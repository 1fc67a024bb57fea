"""Photos: the pictures of the index and of uploads, served by number or name, never by path."""

import mimetypes
import os
from collections.abc import Iterator
from typing import IO, Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response, StreamingResponse

from cli.web.errors import Conflict, NotFound
from cli.web.service import Service
from cli.web.thumbnails import WIDTHS, PhotoUnseen, placeholder
from dcsearch.errors import MachineFault, PhotoError
from indexer import PhotoFacts
from indexer.document import utf8
from indexer.photos.open import fetch
from indexer.photos.scan import look_at
from indexer.photos.url import is_url

PhotoId = Annotated[int, Path(ge=0, lt=1 << 62)]
_CHUNK = 1 << 18
_FOREVER = "private, max-age=31536000, immutable"


def photos_router(service: Service) -> APIRouter:
    """The routes of pictures, which pages show too."""
    router = APIRouter(prefix="/api/v1", tags=["pictures"])

    @router.get(
        "/photos/{photo_id}/{width}.webp",
        summary="A photo as a small picture, upright",
        response_class=Response,
        responses={200: {"content": {"image/webp": {}}}, 304: {}, 404: {}},
    )
    async def thumbnail(request: Request, photo_id: PhotoId, width: int) -> Response:
        if width not in WIDTHS:
            sizes = ", ".join(map(str, WIDTHS))
            raise NotFound(f"pictures are {sizes} pixels wide")
        try:
            made = await service.thumbnail(request, photo_id, width)
        except (PhotoUnseen, NotFound) as error:
            return await _placeholder(service, request, photo_id, width, str(error))
        headers = {"ETag": f'"{made.tag}"', "Cache-Control": _FOREVER}
        if made.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(made.data, media_type="image/webp", headers=headers)

    @router.get(
        "/photos/{photo_id}/original",
        summary="A photo's file as it is",
        response_class=StreamingResponse,
        responses={404: {}, 409: {}},
    )
    async def original(request: Request, photo_id: PhotoId) -> StreamingResponse:
        facts = (await service.facts(request, [photo_id])).get(photo_id)
        if facts is None:
            raise NotFound(f"there is no photo {photo_id} in the index")

        def open_file() -> IO[bytes]:
            if is_url(facts.path):
                return _fetched(facts)
            try:
                file = open(facts.path, "rb")  # noqa: SIM115
            except OSError as error:
                raise NotFound(f"its file cannot be read: {error.strerror}") from None
            # Of the file that is open: its name may mean another one by now.
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != (facts.size, facts.mtime_ns):
                file.close()
                raise Conflict("its file was changed since it was indexed; index it again")
            return file

        file = await service.pictures.run(request, open_file)
        name = utf8(facts.path.name)
        kind = mimetypes.guess_type(name)[0] or ""
        return StreamingResponse(
            _chunks(file),
            media_type=kind if kind.startswith("image/") else "application/octet-stream",
            headers={
                "Content-Length": str(os.fstat(file.fileno()).st_size),
                "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
                "Cache-Control": "no-store",
            },
        )

    @router.get(
        "/uploads/{name}/picture.webp",
        summary="An uploaded picture",
        response_class=Response,
        responses={200: {"content": {"image/webp": {}}}, 404: {}},
    )
    async def uploaded(name: Annotated[str, Path(max_length=64)]) -> Response:
        upload = service.uploads.get(name)
        return Response(
            upload.picture, media_type="image/webp", headers={"Cache-Control": "no-store"}
        )

    return router


def _fetched(photo: PhotoFacts) -> IO[bytes]:
    """A copy of the object at a photo's URL.

    Raises:
        NotFound: it is gone, or cannot be read.
        Conflict: it is not what was indexed.
    """
    try:
        now = look_at(str(photo.path))
        if (now.size, now.mtime_ns) != (photo.size, photo.mtime_ns):
            raise Conflict("its file was changed since it was indexed; index it again")
        return fetch(now.path)
    except OSError as error:
        raise NotFound(f"its file cannot be read: {error.strerror}") from None
    except (MachineFault, PhotoError) as error:
        raise NotFound(str(error)) from None


async def _placeholder(
    service: Service, request: Request, photo_id: int, width: int, reason: str
) -> Response:
    facts = (await service.facts(request, [photo_id])).get(photo_id)
    shape = (
        (3, 2)
        if facts is None or not facts.width or not facts.height
        else (facts.width, facts.height)
    )
    height = max(1, round(width * shape[1] / shape[0]))
    return Response(
        placeholder(width, height, reason),
        status_code=404,
        media_type="image/svg+xml",
        headers={"Cache-Control": "no-store"},
    )


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    """A file's bytes; it is closed when they are sent, or nobody wants them any more."""
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk
