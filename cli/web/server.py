"""Server: an application on a socket, until Ctrl-C."""

import contextlib
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

_ENDING = 3  # seconds that answers under way have


class Server(uvicorn.Server):
    """uvicorn's server, which says when it is ready, and ends connections that would never end."""

    def __init__(self, application: FastAPI, on_ready: Callable[[], None]) -> None:
        """Take the application, and what to call when it answers."""
        super().__init__(
            uvicorn.Config(
                application,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="on",
                timeout_graceful_shutdown=_ENDING,
            )
        )
        self._application, self._on_ready = application, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let pages that listen go, which they never would by themselves."""
        self._application.state.service.events.close()
        await super().shutdown(sockets)


def run_server(
    application: FastAPI, listening: socket.socket, *, on_ready: Callable[[], None]
) -> None:
    """Answers until Ctrl-C.

    Args:
        application: of `make_application`.
        listening: a socket that listens.
        on_ready: called once it answers.
    """
    with contextlib.suppress(KeyboardInterrupt):  # the usual way to end it
        Server(application, on_ready).run([listening])
