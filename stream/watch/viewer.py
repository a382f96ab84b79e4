"""One open page: facts a few times a second, and the next picture as soon as the last one was drawn."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from stream.clock import now_ns
from stream.watch.fields import Shown
from stream.watch.picture import Encoder
from stream.watch.state import LiveState

log = logging.getLogger(__name__)

FACTS_S = 0.2
QUIET_S = 1.0
"""Facts are sent at least so often, so that a page can tell a quiet run from a dead link."""


class Wakeup:
    """Lets coroutines wait for the next change that another thread makes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._next: asyncio.Future[None] = loop.create_future()

    def from_thread(self) -> None:
        """Wake everybody who waits; called from any thread, also while the loop ends."""
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop has closed; nobody waits any more
            return

    def _wake(self) -> None:
        self._next.set_result(None)
        self._next = self._loop.create_future()

    async def wait(self, timeout_s: float) -> None:
        """Return after the next change or after ``timeout_s``."""
        await asyncio.wait([self._next], timeout=timeout_s)


class Broadcast:
    """The pictures of one field, raw or denoised: each is encoded once, at most ``max_fps`` a second, and only while
    somebody looks."""

    def __init__(
        self,
        state: LiveState,
        field: str,
        denoised: bool,
        wakeup: Wakeup,
        executor: Executor,
        max_fps: float,
        quality: int,
    ) -> None:
        self._state, self._wakeup, self._executor = state, wakeup, executor
        self._shown = partial(state.shown, field, denoised)
        self._interval_s = 1 / max_fps
        self._encoder = Encoder(quality)
        self._lock = asyncio.Lock()
        self._due_s = -math.inf
        self._key: tuple[Any, ...] | None = None
        self._serial = 0
        self._packet = b""

    async def newer(self, than: int) -> tuple[int, bytes]:
        """Return ``(serial, packet)`` of the newest picture once it is newer than serial ``than``."""
        if self._serial <= than or self._left():
            async with self._lock:
                while self._serial <= than or self._left():
                    await self._encode_next()
        return self._serial, self._packet

    def _left(self) -> bool:
        """Whether nobody looked for a while, so that the last picture shows what is long over."""
        if asyncio.get_running_loop().time() < self._due_s + QUIET_S:
            return False
        shown = self._shown()
        return shown is not None and _key(shown) != self._key

    async def _encode_next(self) -> None:
        loop = asyncio.get_running_loop()
        if (early_s := self._due_s - loop.time()) > 0:
            await asyncio.sleep(early_s)
        while (shown := self._shown()) is None or _key(shown) == self._key:
            await self._wakeup.wait(FACTS_S)
        self._due_s = loop.time() + self._interval_s
        serial = self._serial + 1
        packet = await loop.run_in_executor(self._executor, self._encoder.encode, shown, serial, now_ns())
        self._serial, self._packet, self._key = serial, packet, _key(shown)


def _key(shown: Shown) -> tuple[Any, ...]:
    return (*shown.key, *((mark["n"], mark["status"]) for mark in shown.marks))


Decide = Callable[[str, bool], str]
"""Gives an operator's word on a command: its id, and whether it may be applied; returns why that did not count."""


class Viewer:
    """Serves one WebSocket until it closes.

    The page says ``{"ack": serial}``, ``{"field": name}``, ``{"denoised": true}`` and, where it may,
    ``{"decide": id, "approve": true}``, which is answered with ``{"decided": id, "refused": why}`` (empty: it counts).
    """

    def __init__(
        self,
        socket: WebSocket,
        state: LiveState,
        wakeup: Wakeup,
        broadcast: Callable[[str, bool], Broadcast],
        decide: Decide | None = None,
    ) -> None:
        self._decide = decide
        self._socket, self._state, self._wakeup, self._broadcast = socket, state, wakeup, broadcast
        self._field, self._denoised = "", False
        self._drawn = asyncio.Event()
        self._drawn.set()
        self._switched = asyncio.Event()
        self._sending = asyncio.Lock()
        self._words: asyncio.Queue[tuple[str, asyncio.Future[str]]] = asyncio.Queue()

    async def serve(self) -> None:
        """Run the sides of the conversation; the first to end ends the others."""
        sides = (self._listen(), self._answer(), self._tell(), self._show())
        tasks = [asyncio.create_task(side) for side in sides]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for end in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(end, Exception) and not isinstance(end, WebSocketDisconnect):
                    log.error("a viewer of the live page was given up: %r", end, exc_info=end)

    async def _listen(self) -> None:
        try:
            while True:
                self._take(await self._socket.receive_json())
        except (WebSocketDisconnect, ValueError, KeyError, RecursionError):
            return

    def _take(self, said: Any) -> None:
        if not isinstance(said, dict):
            raise ValueError("a viewer says objects")
        if "ack" in said:
            self._drawn.set()
        if self._decide is not None and isinstance(said.get("decide"), str) and isinstance(said.get("approve"), bool):
            # It waits for the rig, so it has a thread of its own.
            word = asyncio.get_running_loop().run_in_executor(None, self._decide, said["decide"], said["approve"])
            self._words.put_nowait((said["decide"], word))
        if (name := said.get("field")) in self._state.fields() and name != self._field:
            self._field = str(name)
            self._switched.set()
        if isinstance(wanted := said.get("denoised"), bool) and wanted != self._denoised:
            self._denoised = wanted
            self._switched.set()

    async def _answer(self) -> None:
        """Tell the page what came of its words on commands."""
        while True:
            command_id, word = await self._words.get()
            refused = await word
            async with self._sending:
                await self._socket.send_text(dump({"decided": command_id, "refused": refused}))

    async def _tell(self) -> None:
        events = commands = -1
        while True:
            if not self._field and (names := self._state.fields()):
                self._field = names[0]
                self._switched.set()
            facts = self._state.facts(self._field, events, commands)
            events, commands = facts["events_change"], facts["commands_change"]
            async with self._sending:
                await self._socket.send_text(dump(facts))
            await asyncio.sleep(FACTS_S)
            await self._wakeup.wait(QUIET_S - FACTS_S)

    async def _show(self) -> None:
        serial = 0
        while True:
            if self._switched.is_set() or not self._field:
                await self._switched.wait()
                self._switched.clear()
                serial = 0
            await self._drawn.wait()
            packet = asyncio.create_task(self._broadcast(self._field, self._denoised).newer(serial))
            switched = asyncio.create_task(self._switched.wait())
            try:
                await asyncio.wait((packet, switched), return_when=asyncio.FIRST_COMPLETED)
                if not packet.done():
                    continue
                serial, message = packet.result()
            finally:
                packet.cancel()
                switched.cancel()
            self._drawn.clear()
            async with self._sending:
                await self._socket.send_bytes(message)


def dump(value: Any) -> str:
    """Return JSON that browsers can read: what is no finite number becomes null."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False, default=str)
    except ValueError:
        return json.dumps(_finite(value), separators=(",", ":"), default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
