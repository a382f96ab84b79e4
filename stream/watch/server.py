"""The live page's server: Starlette on uvicorn in a thread of the watch node."""

from __future__ import annotations

import asyncio
import mimetypes
import socket
import threading
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from stream.errors import StoreError
from stream.facts.provenance import why
from stream.metrics import REGISTRY
from stream.watch.doors import Doors
from stream.watch.families import Families
from stream.watch.picture import strip_jpeg
from stream.watch.state import LiveState
from stream.watch.viewer import Broadcast, Decide, Viewer, Wakeup, dump

_DIGITS = 19
"""A number of so many may not fit 64 bits."""
PAGE = Path(__file__).parent / "page"
mimetypes.add_type("text/javascript", ".js")  # some Windows machines say text/plain, which browsers refuse to run


class Site:
    """The routes over one LiveState."""

    def __init__(
        self,
        state: LiveState,
        families: Families,
        max_fps: float,
        jpeg_quality: int,
        hosts: Iterable[str] = (),
        run_dir: Path | None = None,
        decide: Decide | None = None,
    ) -> None:
        self._state, self._families, self._run_dir = state, families, run_dir
        self._decide = decide
        self._max_fps, self._quality = max_fps, jpeg_quality
        self._broadcasts: dict[tuple[str, bool], Broadcast] = {}
        self._viewers: set[Viewer] = set()
        self.app = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/api/summary", self._summary),
                Route("/api/lineage", self._lineage),
                Route("/api/why", self._why),
                Route("/metrics", self._metrics),
                Route("/thumb/{n:int}.jpg", self._thumb),
                WebSocketRoute("/ws", self._socket),
                Mount("/", StaticFiles(directory=PAGE, html=True)),
            ],
            middleware=[Middleware(Doors, hosts=frozenset(hosts))],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._wakeup = Wakeup(asyncio.get_running_loop())
        self._state.listen(self._wakeup.from_thread)
        with ThreadPoolExecutor(1, thread_name_prefix="watch-encode") as self._executor:
            yield
        self._state.unlisten(self._wakeup.from_thread)

    def _broadcast(self, field: str, denoised: bool) -> Broadcast:
        key = (field, denoised)
        if key not in self._broadcasts:
            self._broadcasts[key] = Broadcast(
                self._state, field, denoised, self._wakeup, self._executor, self._max_fps, self._quality
            )
        return self._broadcasts[key]

    async def _socket(self, socket: WebSocket) -> None:
        await socket.accept()
        viewer = Viewer(socket, self._state, self._wakeup, self._broadcast, self._decide)
        self._viewers.add(viewer)
        try:
            await viewer.serve()
        finally:
            self._viewers.discard(viewer)

    async def _health(self, request: Request) -> Response:
        facts = self._state.facts(events_since=1 << 62, commands_since=1 << 62)
        health = {
            "ok": True,
            "run": facts["run"],
            "rig": facts["status"].get("rig"),
            "frame_age_ms": facts["frame_age_ms"],
            "viewers": len(self._viewers),
        }
        return Response(dump(health), media_type="application/json")

    async def _summary(self, request: Request) -> Response:
        fields = self._state.fields()
        field = request.query_params.get("field") or (fields[0] if fields else "")
        return Response(dump(self._state.facts(field)), media_type="application/json")

    def _lineage(self, request: Request) -> Response:
        """Answer who came from whom; no coroutine, so that a large tree grows on a thread beside the pictures."""
        track, fields = request.query_params.get("track", ""), self._families.fields()
        if track and not (track.isascii() and track.isdigit() and len(track) < _DIGITS):
            return PlainTextResponse(f"track={track} is no number of a track\n", status_code=400)
        field = request.query_params.get("field") or (fields[0] if fields else "")
        try:
            return Response(
                dump(self._families.told(field, int(track) if track else None)), media_type="application/json"
            )
        except KeyError:
            what = f"track {track} in the field '{field}'" if field in fields and track else f"field '{field}'"
            return PlainTextResponse(f"there is no {what} yet\n", status_code=404)

    def _why(self, request: Request) -> Response:
        """Answer where a frame's state came from, like ``cytoloop why``; on a thread, as the lineage is."""
        asked = {name: request.query_params.get(name, "") for name in ("frame", "command", "event")}
        try:
            return Response(dump(why(self._run_dir or Path(), **asked)), media_type="application/json")
        except StoreError as error:
            return PlainTextResponse(f"{error}\n", status_code=404)

    async def _metrics(self, request: Request) -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    async def _thumb(self, request: Request) -> Response:
        crops = self._state.crops(request.path_params["n"])
        if not crops:
            return PlainTextResponse("no picture of this event was kept\n", status_code=404)
        return Response(strip_jpeg(crops), media_type="image/jpeg")


class Server:
    """Serves the live page from a thread of its own.

    Parameters
    ----------
    host, port
        Where to listen; port 0 picks a free one. Anything but a loopback address lets the network read the run.
    max_fps
        Pictures a second for each viewer, at most.
    hosts
        Further names under which browsers may reach this machine (addresses and its own name always work).
    families
        What ``/api/lineage`` answers from; left out, it knows no field.
    run_dir
        Where the run's facts are, for ``/api/why``.
    decide
        Takes an operator's word on a command that waits for it, and returns why it did not count, or nothing; left out,
        the page has no buttons for that.
    """

    def __init__(
        self,
        state: LiveState,
        host: str = "127.0.0.1",
        port: int = 8600,
        *,
        max_fps: float = 15.0,
        jpeg_quality: int = 80,
        hosts: Iterable[str] = (),
        families: Families | None = None,
        run_dir: Path | None = None,
        decide: Decide | None = None,
    ) -> None:
        known = (host.lower(), *hosts)
        self._site = Site(state, families or Families(), max_fps, jpeg_quality, known, run_dir, decide)
        self._host, self._port = host, port
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Listen and return the port. Raises OSError when the port is taken."""
        listener = socket.create_server((self._host, self._port), family=_family(self._host))
        config = uvicorn.Config(
            self._site.app,
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            ws_max_size=4096,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="watch-page", daemon=True)
        self._thread.start()
        return int(listener.getsockname()[1])

    def stop(self) -> None:
        """Close every page and stop listening. Idempotent."""
        if self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join()
        self._thread = None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
