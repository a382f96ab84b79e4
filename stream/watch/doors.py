"""Who may read the page: nothing that a stranger's web page could reach through the operator's browser."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def known_host(header: str, also: frozenset[str]) -> bool:
    """Whether a Host header names this machine: an address, ``localhost``, the host's own name or one in ``also``.

    An address cannot be re-bound to another machine's name, which is how a stranger's page would come to read this one.
    """
    name = urlsplit(f"//{header}").hostname or ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in {"localhost", socket.gethostname().lower(), *also}
    return True


def is_private(host: str) -> bool:
    """Whether a page that listens at ``host`` is seen by this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a WebSocket comes from our own page; programs that are no browser send no Origin."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


class Doors:
    """Middleware: refuses foreign hosts and origins, adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] = frozenset()) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not known_host(headers.get("host", ""), self._hosts):
            await self._refuse("unknown host", scope, receive, send)
        elif scope["type"] == "websocket" and not same_origin(headers):
            await self._refuse("foreign origin", scope, receive, send)
        else:
            await self._app(scope, receive, _guarded(send))

    async def _refuse(self, why: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose(code=1008, reason=why)(scope, receive, send)
        else:
            await PlainTextResponse(f"{why}\n", status_code=403)(scope, receive, _guarded(send))


def _guarded(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return guarded
