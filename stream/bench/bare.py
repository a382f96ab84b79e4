"""Times the bare device calls of commands in a process of their own, beside the rig that is measured."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from stream import plugins
from stream.command import Command
from stream.config import CameraSettings, PlanSettings
from stream.errors import CytoloopError, DriverError

_OPEN_S = 300.0
_ANSWER_S = 60.0


class BareDevices:
    """The same devices with nothing of ours between them and the caller.

    Raises
    ------
    DriverError
        They could not be opened.
    """

    def __init__(self, settings: CameraSettings, plan: PlanSettings, commands: Sequence[Command]) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs,), name="cytoloop-bare", daemon=True
        )
        self._process.start()
        theirs.close()
        asked = [part.model_dump_json() for part in (settings, plan, *commands)]
        self._pipe.send_bytes(json.dumps(asked).encode())

    def wait(self) -> None:
        """Wait until they are open. Raises DriverError."""
        self._answer(_OPEN_S)

    def time_ms(self, number: int) -> float:
        """Make the calls of a command and return how long they took. Raises DriverError."""
        self._pipe.send_bytes(json.dumps(number).encode())
        return float(self._answer(_ANSWER_S))

    def close(self) -> None:
        """Let the devices go."""
        self._pipe.close()
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()

    def _answer(self, timeout_s: float) -> Any:
        if not self._pipe.poll(timeout_s):
            raise DriverError(f"the bare devices gave no answer within {timeout_s:g} s")
        try:
            answer = json.loads(self._pipe.recv_bytes())
        except EOFError:
            raise DriverError("the process of the bare devices ended; its error is above") from None
        if isinstance(answer, str):
            raise DriverError(f"the bare devices: {answer}")
        return answer


def _serve(pipe: Connection) -> None:
    settings, plan, *commands = json.loads(pipe.recv_bytes())
    camera = CameraSettings.model_validate_json(settings)
    from drivers.micromanager.bare import BareCore

    try:
        bare = BareCore(
            plugins.load("drivers", camera.driver),
            camera,
            PlanSettings.model_validate_json(plan),
            [Command.model_validate_json(command) for command in commands],
        )
    except CytoloopError as error:
        pipe.send_bytes(json.dumps(str(error)).encode())
        return
    try:
        pipe.send_bytes(json.dumps(0).encode())
        while True:
            pipe.send_bytes(json.dumps(bare.time_ms(json.loads(pipe.recv_bytes()))).encode())
    except (EOFError, OSError):  # the bench is done
        pass
    finally:
        bare.close()
