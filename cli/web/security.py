"""Security: who may ask what, checked before anything is done.

In this order:

- the Host header names this server, so that a page elsewhere cannot reach it under a name of its
  own (DNS rebinding);
- the password, if there is one, but for what only says whether the server lives and is ready;
- what a page of another site has the browser fetch is refused, and so is being shown within its
  frames; following a link to here is not;
- whatever changes something must come from a page of this server, or from no browser at all.

Every answer says what its page may load: nothing but what this server sends, no script or style
within the page.
"""

import base64
import binascii
import hashlib
import ipaddress
import secrets
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cli.web.settings import Settings

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
OPEN = ("/healthz", "/readyz")  # without the password
_SAFE = ("GET", "HEAD")
_FRAMES = ("iframe", "frame", "embed", "object")


class Security:
    """The application behind these checks."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Take the application and whom it serves."""
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there is nothing else to be had
            return
        headers = Headers(scope=scope)
        known = self._knows_password(headers.get("authorization", ""))
        scope.setdefault("state", {})["knows_password"] = known
        refusal = self._refusal(scope, headers, known)
        if refusal is not None:
            await _answer(send, *refusal)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    own.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _refusal(
        self, scope: Scope, headers: Headers, known: bool
    ) -> tuple[int, str, dict[str, str]] | None:
        """Status, sentence and further headers of a request that is not answered."""
        host = headers.get("host", "")
        if not self._is_own_name(host):
            return 421, f"this server is not called '{host}'; name it with --allow-host", {}
        if not known and scope["path"] not in OPEN:
            login = {"WWW-Authenticate": 'Basic realm="dcsearch", charset="UTF-8"'}
            return 401, "this server asks for a password", login
        if not _is_asked_from_here(headers):
            return 403, "another site's page asked for this; open it by its own address", {}
        if scope["method"] not in _SAFE and not _is_sent_from_here(headers):
            return 403, "only a page of this server may send this", {}
        return None

    def _is_own_name(self, host: str) -> bool:
        name, bracket, _ = host.rpartition("]") if host.startswith("[") else (host, "", "")
        name = name[1:] if bracket else name.partition(":")[0]
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name.lower().rstrip(".") in self._settings.hosts
        return self._settings.any_address or address.is_loopback

    def _knows_password(self, authorization: str) -> bool:
        if self._settings.password is None:
            return True
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            _, _, given = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        # Hashed, so that not even the length shows in the time that comparing takes.
        return secrets.compare_digest(_digest(given), _digest(self._settings.password))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _is_asked_from_here(headers: Mapping[str, str]) -> bool:
    """Whether a person asked, or a page of this server; programs do not say, and are believed."""
    if headers.get("sec-fetch-dest") in _FRAMES:
        return False
    followed = headers.get("sec-fetch-mode") == "navigate"
    return followed or headers.get("sec-fetch-site", "none") in ("none", "same-origin")


def _is_sent_from_here(headers: Mapping[str, str]) -> bool:
    """Whether a page of this server sends this; browsers say where it comes from."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    scheme, _, rest = origin.partition("://")
    return scheme in ("http", "https") and rest.lower() == headers.get("host", "").lower()


async def _answer(send: Send, status: int, sentence: str, headers: dict[str, str]) -> None:
    body = f"{sentence}\n".encode()
    told = {
        **HEADERS,
        **headers,
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
    }
    raw = [
        (name.lower().encode(), value.encode("latin-1", "replace")) for name, value in told.items()
    ]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
