"""Tells answers to whoever asked and to everyone who watches, in order, off the way of the commands.

That a command is in hand is told a moment late: the calls to the hardware, which follow at once, would otherwise share
the interpreter with what is said about them. Final answers are told as they come.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence

from stream.command import Ack, Command
from stream.wire.codec import encode_fact
from stream.wire.control import ControlServer, Request
from stream.wire.publish import Publisher

log = logging.getLogger(__name__)

_COURTESY_S = 0.003
"""How long progress waits before it is told."""

_Answer = tuple[Command, Ack, Sequence[Request]]
"""A command, what became of it, and the requests that asked."""


class Teller:
    """A thread of its own: a command waits for the disk and the hardware, and not for what is said about it."""

    def __init__(self, control: ControlServer, publisher: Publisher) -> None:
        self._control, self._publisher = control, publisher
        self._waiting: queue.SimpleQueue[_Answer | threading.Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="teller", daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def tell(self, command: Command, ack: Ack, senders: Sequence[Request]) -> None:
        """Have an answer told; never waits. The command's answers are told in the order of these calls."""
        self._waiting.put((command, ack, senders))

    def flush(self, timeout_s: float) -> None:
        """Wait until what was to be told so far is told."""
        told = threading.Event()
        self._waiting.put(told)
        if self._thread.is_alive():
            told.wait(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Tell what is left, and end."""
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            answer = self._waiting.get()
            if isinstance(answer, tuple) and not answer[1].state.final:
                time.sleep(_COURTESY_S)
            while True:
                if answer is None:
                    return
                self._say(answer)
                try:
                    answer = self._waiting.get_nowait()
                except queue.Empty:
                    break

    def _say(self, answer: _Answer | threading.Event) -> None:
        if isinstance(answer, threading.Event):
            answer.set()
            return
        command, ack, senders = answer
        try:
            for sender in senders:
                self._control.reply(sender, ack)
            told = {"command": command.model_dump(mode="json"), "ack": ack.model_dump(mode="json")}
            self._publisher.send(encode_fact({"fact": "ack", **told}))
        except Exception:  # the thread's edge: one answer that cannot be told must not silence the others
            log.exception("on telling %s", ack)
