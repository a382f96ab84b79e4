"""What the rig says of itself."""

from __future__ import annotations

import numpy as np

from stream.acquire.dose import DoseLedger
from stream.acquire.status import Status
from stream.command import Ack, AckState, Action, Command, SetInterval, SetLight, Target
from stream.frame import Frame
from stream.safety import DoseSettings


def test_it_says_what_frames_and_commands_have_told() -> None:
    dose = DoseLedger(DoseSettings(), {}, 0.5)
    status = Status(dose)
    assert status.told()["light_power"] == 0.5

    def applied(action: Action, position: int | None = None, **values: object) -> None:
        command = Command(command_id="x", action=action, issued_wall_ns=0, target=Target(position=position))
        dose.asked(command)
        dose.answered(command, values)
        status.applied(command, Ack(command_id="x", state=AckState.APPLIED, readback=values))

    status.took(Frame("r", "c", "s", 0, 0, "c:p0", 0, np.zeros((2, 2), np.uint8), exposure_ms=7.0, channel="DAPI"))
    applied(SetLight(on=False), on=False)
    applied(SetInterval(interval_ms=300), interval_ms=300.0)
    applied(SetInterval(interval_ms=10), position=3, interval_ms=10.0)
    told = status.told()
    assert (told["exposure_ms"], told["channel"], told["light_on"], told["light_power"]) == (7.0, "DAPI", False, None)
    assert told["interval_ms"] == 300.0, "of the plan, not of one position"
    assert told["dose"]["unit"]
