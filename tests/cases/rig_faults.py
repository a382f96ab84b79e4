"""Faults and misuses of a rig: each is played on a running rig, and is one row of docs/decisions/faults.md."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from useq import MDASequence

from stream import command as c
from stream.clock import wall_ns
from stream.errors import DriverError, Refused
from stream.facts.rig import RigFacts
from stream.wire.control import Query
from stream.wire.link import note
from tests.cases.rig_bench import WAIT_S, RigBench, refused_by_wire

Answer = tuple[str, str]
"""The final state (or ``error`` for what never became a command) and the reason."""
BOX = {"limits": {"x_um": (-100, 100), "y_um": (-100, 100), "z_um": (-10, 10), "exposure_ms": (1, 100)}}
ZONE = {"limits": {"forbidden_um": [[20.0, 40.0, -10.0, 10.0]]}}
APPROVE = {"limits": {"approve": ["move_stage"], "max_age_ms": 60_000.0}}
QUIET = {"limits": {"alive_timeout_s": 0.3}}
MOVE = c.MoveStage(x_um=5, y_um=5)


@dataclass(frozen=True)
class Fault:
    """One row: what goes wrong, what the rig does, its answer, and what is lost."""

    name: str
    did: str
    state: str
    says: str
    play: Callable[[RigBench], Answer]
    lost: str = "nothing"
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    broken: dict[str, Exception] = field(default_factory=dict)
    """What the driver raises from the start on, by kind of command."""


def _answer(ack: c.Ack) -> Answer:
    return ack.state.value, ack.reason


def _asks(action: c.Action, origin: str = "policy", **more: Any) -> Callable[[RigBench], Answer]:
    """Ask for something that must leave the hardware as it is."""

    def play(rig: RigBench) -> Answer:
        before = list(rig.driver.applied)
        answer = _answer(rig.ask(action, origin, **more))
        assert rig.driver.applied == before
        return answer

    return play


def expired(rig: RigBench) -> Answer:
    ref = rig.newest()
    rig.wait(lambda: rig.newest().seq > ref.seq + 20)
    return _answer(rig.ask(MOVE, cause=c.Cause(origin="policy", frame=ref), max_age_ms=50.0))


def unknown_frame(rig: RigBench) -> Answer:
    ref = replace(rig.newest(), seq=10**6)
    return _answer(rig.ask(MOVE, cause=c.Cause(origin="policy", frame=ref)))


def future(rig: RigBench) -> Answer:
    return _answer(rig.ask(MOVE, issued_wall_ns=wall_ns() + 3600 * 10**9))


def second_of_a_kind(rig: RigBench) -> Answer:
    assert rig.ask(MOVE).state == "applied"
    return _answer(rig.ask(c.MoveStage(x_um=6)))


def repeated_id(rig: RigBench) -> Answer:
    assert rig.ask(MOVE, command_id="once").state == "applied"
    answer = rig.ask(c.MoveStage(x_um=50), command_id="once")
    assert rig.driver.stage_um[0] == 5.0
    assert rig.driver.applied == ["once"]
    return _answer(answer)


def superseded(rig: RigBench) -> Answer:
    rig.driver.gate.clear()
    rig.send(c.Pause())
    old = rig.send(c.SetExposure(exposure_ms=6))
    new = rig.send(c.SetExposure(exposure_ms=7))
    rig.driver.gate.set()
    rig.wait(lambda: new in rig.driver.applied)
    assert old not in rig.driver.applied
    return _answer(rig.final(old))


def too_late_at_the_hardware(rig: RigBench) -> Answer:
    """The hardware is busy with a long exposure when the command's turn comes."""
    rig.driver.gate.clear()
    ref = rig.newest()
    late = rig.send(MOVE, cause=c.Cause(origin="policy", frame=ref), max_age_ms=1000.0)
    assert rig.driver.at_gate.wait(20)
    rig.wait(lambda: rig.newest().seq > ref.seq + 60)  # one every 20 ms
    rig.driver.gate.set()
    answer = _answer(rig.final(late))
    assert rig.driver.applied == []
    return answer


def refused_newcomer(rig: RigBench) -> Answer:
    """Feedback that may not touch the light asks for more of it while an operator's dark waits."""
    rig.driver.gate.clear()
    rig.send(MOVE)
    dark = rig.send(c.SetLight(on=False), "operator")
    bright = rig.send(c.SetLight(power=0.9, on=True), priority=10**6)
    rig.driver.gate.set()
    assert rig.final(dark).state == "applied"
    assert not rig.driver.is_on
    return _answer(rig.final(bright))


def failed_stimulation(rig: RigBench) -> Answer:
    rig.driver.faults["stimulate"] = DriverError("the modulator was to be cleared and shows 9 pixels")
    before_ms = sum(dose.full_power_ms for dose in rig.facts.dose().values())
    answer = _answer(rig.ask(c.Stimulate(mask_yx_px=(((0, 0), (0, 2), (2, 2)),), duration_ms=5000)))
    rig.wait(lambda: sum(dose.full_power_ms for dose in rig.facts.dose().values()) > before_ms + 4999)
    return answer


def operators_pause(rig: RigBench) -> Answer:
    assert rig.ask(c.Pause(), "operator").state == "applied"
    answer = _answer(rig.ask(c.Resume()))
    assert rig.driver.paused
    return answer


def queue_full(rig: RigBench) -> Answer:
    rig.driver.gate.clear()
    for n in range(258):
        rig.client("analyse").submit(rig.command(c.SetInterval(interval_ms=n), target={"position": n}))
    found = "SELECT command_id FROM transitions WHERE final LIMIT 1"
    refused = rig.wait(lambda: rig.rows(found))[0][0]
    rig.driver.gate.set()
    return _answer(rig.final(refused))


def sequence_over_budget(rig: RigBench) -> Answer:
    stack = MDASequence(channels=[{"config": "A", "exposure": 900}], z_plan={"range": 8, "step": 1})
    return _answer(rig.ask(c.Acquire(sequence=stack)))


def budget_spent(rig: RigBench) -> Answer:
    rig.wait(lambda: not rig.driver.is_on)
    taken = rig.taken()
    rig.wait(lambda: rig.taken() > taken + 3)
    assert max(rig.driver.light_ms.values()) <= 200.0
    return _answer(rig.ask(c.SetLight(on=True), "operator"))


def light_that_does_not_close(rig: RigBench) -> Answer:
    rig.wait(rig.ended)
    assert max(rig.driver.light_ms.values()) <= 200.0
    return _answer(rig.final(rig.rows("SELECT command_id FROM commands WHERE kind = 'stop'")[0][0]))


def throttled(rig: RigBench) -> Answer:
    rig.wait(lambda: rig.driver.power == 0.25)
    rig.wait(lambda: rig.driver.interval_ms == 40.0)
    return _answer(rig.ask(c.SetInterval(interval_ms=10.0)))


def nobody_approves(rig: RigBench) -> Answer:
    return _answer(rig.ask(MOVE))


def denied(rig: RigBench) -> Answer:
    name = rig.send(MOVE)
    rig.wait(lambda: rig.waiting() == [name])
    assert rig.decide(name, approve=False) == "denied"
    return _answer(rig.final(name))


def approved_too_late(rig: RigBench) -> Answer:
    name = rig.send(MOVE, cause=c.Cause(origin="policy", frame=rig.newest()))
    rig.wait(lambda: rig.states(name)[-1] in ("accepted", "expired"))
    return _answer(rig.final(name))


def approves_itself(rig: RigBench) -> Answer:
    name = rig.send(MOVE)
    rig.wait(lambda: rig.waiting() == [name])
    answer = rig.decide(name, approve=True, name="analyse")
    assert rig.waiting() == [name]
    return "error", answer


def strangers_word(rig: RigBench) -> Answer:
    return "error", rig.decide("no such command", approve=True)


def poses_as_operator(rig: RigBench) -> Answer:
    command = rig.command(MOVE, origin="operator")
    answer = rig.client("analyse").request(command, 20)
    assert isinstance(answer, c.Ack)
    return _answer(answer)


def not_a_number(rig: RigBench) -> Answer:
    text = rig.command(c.MoveStage(x_um=1)).model_dump_json().replace('"x_um":1.0', '"x_um":NaN')
    return "error", rig.raw(note("command", {"name": "x", "id": "7", "command": text}))


def garbage(rig: RigBench) -> Answer:
    said = rig.raw([b"GET / HTTP/1.1", b"Host: rig", b""])
    assert rig.ask(c.Pause(), "operator").state == "applied"
    return "error", said


def too_large(rig: RigBench) -> Answer:
    mask = (tuple((y, x) for y in range(300) for x in range(300)),)
    return "error", refused_by_wire(lambda: rig.ask(c.Stimulate(mask_yx_px=mask, duration_ms=1)))


def hung_stage(rig: RigBench) -> Answer:
    """Stop while a move does not come back."""
    rig.driver.gate.clear()
    rig.send(MOVE)
    assert rig.driver.at_gate.wait(20)
    stop = rig.send(c.Stop(), "operator")
    assert rig.driver.darkened.wait(20), "the light must close while the stage still hangs"
    assert not rig.driver.is_on
    rig.driver.gate.set()
    answer = rig.final(stop)
    rig.wait(rig.ended)
    return _answer(answer)


def after_the_stop(rig: RigBench) -> Answer:
    rig.driver.gate.clear()
    rig.send(c.Pause())
    later = rig.send(MOVE)
    rig.send(c.Stop(), "operator")
    assert rig.driver.darkened.wait(20)
    rig.driver.gate.set()
    return _answer(rig.final(later))


def refusing_stage(rig: RigBench) -> Answer:
    rig.driver.faults["move_stage"] = DriverError("stage: (5, 5) µm was asked and it stands at (0, 0) µm")
    answer = _answer(rig.ask(MOVE))
    assert rig.ask(c.SetExposure(exposure_ms=6)).state == "applied"
    return answer


def broken_driver(rig: RigBench) -> Answer:
    rig.driver.faults["move_stage"] = ZeroDivisionError("a fault in a driver")
    answer = _answer(rig.ask(MOVE))
    assert rig.ask(c.SetExposure(exposure_ms=6)).state == "applied"
    return answer


def light_of_unknown_power(rig: RigBench) -> Answer:
    rig.driver.faults["set_light"] = DriverError("LED.Power: 0.9 was asked and it answers 0.7")
    answer = _answer(rig.ask(c.SetLight(power=0.9)))
    rig.wait(lambda: rig.rows("SELECT 1 FROM frames WHERE light_power IS NULL"))
    dose = rig.wait(lambda: next((d for d in rig.facts.dose().values() if d.unknown_power_ms > 0), None))
    assert dose.unknown_power_ms > 0
    return answer


def full_disk(rig: RigBench) -> Answer:
    pages = rig.rows("PRAGMA page_count")[0][0]
    rig.facts._database._writer.execute(f"PRAGMA max_page_count = {pages}")
    answer = _answer(rig.client("analyse").request(_large(rig), 30))  # type: ignore[arg-type]
    stop = rig.client("operator").request(_large(rig, c.Stop(), "operator"), 30)
    assert isinstance(stop, c.Ack)
    assert stop.state == "applied", "a stop needs no disk"
    rig.wait(rig.ended)
    assert not rig.driver.is_on
    return answer


def hung_disk(rig: RigBench) -> Answer:
    """A disk that takes a write and does not come back, and commands that wait for it, with a stop behind them."""
    gate, before = threading.Event(), list(rig.driver.applied)
    rig.facts._database.put(("SELECT ?", lambda: (gate.wait(60),)))
    try:
        asked = [rig.command(c.MoveStage(x_um=n), target={"position": n}) for n in range(8)]
        for command in asked:
            rig.client("analyse").submit(command)
        stop = rig.client("operator").request(rig.command(c.Stop(), "operator"), 20)
        assert isinstance(stop, c.Ack)
        assert stop.state == "applied"
        rig.wait(rig.ended)
        assert not rig.driver.is_on
        assert rig.driver.applied[len(before) :] == [stop.command_id]
        answer = next(ack for ack in iter(lambda: rig.client("analyse").next_ack(20), None) if ack.state.final)
    finally:
        gate.set()
    return _answer(answer)


def _large(rig: RigBench, action: c.Action = MOVE, origin: str = "policy") -> c.Command:
    """Make a command that fits on no page that is left."""
    return rig.command(action, origin, cause=c.Cause(origin=origin, event_id="e" * 40_000))


def restarted(rig: RigBench) -> Answer:
    rig.driver.gate.clear()
    name = rig.send(MOVE)
    assert rig.driver.at_gate.wait(20)
    again = RigFacts(rig.folder)  # as the next start of the rig does, while this one hangs
    answer = again.known(name)
    again.close()
    assert answer is not None
    return _answer(answer)


def silent_analysis(rig: RigBench) -> Answer:
    """An analysis that once reported and says no more: dark, back to the plan, light."""
    assert rig.ask(c.SetExposure(exposure_ms=8)).state == "applied"
    rig.client("analyse").ready()
    rig.wait(lambda: rig.status()["base_plan"])
    answer = rig.ask(c.SetExposure(exposure_ms=9))
    rig.wait(lambda: rig.driver.exposure_ms == 5.0 and rig.driver.is_on)
    steps = rig.rows("SELECT kind, command FROM commands WHERE origin = 'rig' ORDER BY id LIMIT 3")
    assert [kind for kind, _ in steps] == ["set_light", "set_exposure", "set_light"]
    assert '"on":false' in steps[0][1]
    return _answer(answer)


def restarted_analysis(rig: RigBench) -> Answer:
    """An analysis that dies and is back long before it counts as lost; what an operator set stays."""
    assert rig.ask(c.SetExposure(exposure_ms=8)).state == "applied"
    assert rig.ask(c.SetInterval(interval_ms=25), "operator").state == "applied"
    waits = rig.send(MOVE)
    analysis = rig.client("analyse")
    for _ in range(2):
        analysis.ready()
        analysis.alive(rig.newest(), 0)
        analysis.request(Query("status"), WAIT_S)  # by now the rig has heard it
    assert rig.driver.exposure_ms == 8, "a link that came back is no restart"
    analysis = rig.again("analyse")
    analysis.alive(rig.newest(), 0)  # its link comes up only when it has decided something
    analysis.ready()
    answer = rig.final(waits)
    rig.wait(lambda: rig.driver.exposure_ms == 5.0 and not rig.status()["base_plan"])
    assert rig.rows("SELECT kind FROM commands WHERE origin = 'rig'") == [("set_exposure",)]
    assert (rig.driver.interval_ms, rig.driver.is_on) == (25, True)
    assert rig.ask(c.SetExposure(exposure_ms=9)).state == "applied"
    return _answer(answer)


def lost_and_paused(rig: RigBench) -> Answer:
    rig.client("analyse").ready()
    rig.wait(lambda: rig.driver.paused and not rig.driver.is_on)
    answer = rig.ask(c.SetLight(on=True))
    while rig.driver.paused or not rig.driver.is_on:  # it decides again: nothing is undecided while no frame comes
        rig.client("analyse").alive(rig.newest(), 0)
    return _answer(answer)


def lost_and_stopped(rig: RigBench) -> Answer:
    rig.client("analyse").ready()
    rig.wait(rig.ended)
    assert not rig.driver.is_on
    return _answer(rig.final(rig.rows("SELECT command_id FROM commands WHERE kind = 'stop'")[0][0]))


FAR = c.MoveStage(x_um=60, y_um=0)
FAULTS = (
    Fault("data too old", "leaves everything as it was", "expired", "ms old; the limit is 50 ms", expired),
    Fault("data that grow too old while the hardware is busy", "looked once more at the frame boundary; nothing moves",
          "expired", "decided on data", too_late_at_the_hardware),
    Fault("a frame that was never taken", "leaves everything as it was", "refused", "this rig has not taken",
          unknown_frame),
    Fault("issued in the future", "leaves everything as it was", "refused", "set the sender's clock", future),
    Fault("for another camera", "leaves everything as it was", "refused", "is for camera 'other'",
          _asks(MOVE, target={"camera": "other"})),
    Fault("goal outside the travel box", "the stage stays", "refused", "x 101 µm is outside the limits",
          _asks(c.MoveStage(x_um=101)), config=BOX),
    Fault("goal in a forbidden zone", "the stage stays", "refused", "is in the forbidden zone",
          _asks(c.MoveStage(x_um=30, y_um=0)), config=ZONE),
    Fault("way through a forbidden zone", "the stage stays", "refused", "crosses the forbidden zone",
          _asks(FAR), config=ZONE),
    Fault("an operator's way through a forbidden zone", "the stage stays: zones are for everybody", "refused",
          "crosses the forbidden zone", _asks(FAR, "operator"), config=ZONE),
    Fault("a recentring whose stage point lies in a zone", "the stage stays", "refused", "is in the forbidden zone",
          _asks(c.Recentre(target_um=(30, 0))), config=ZONE),
    Fault("exposure above the limit", "the exposure stays", "refused", "exposure 200 ms is outside the limits",
          _asks(c.SetExposure(exposure_ms=200), "operator"), config=BOX),
    Fault("a kind that [limits] allow leaves out", "nothing", "refused", "[limits] allow does not name move_stage",
          _asks(MOVE), config={"limits": {"allow": ["recentre"]}}),
    Fault("too many commands in a second", "applied the first one", "refused", "more than rates_per_s = 0.01",
          second_of_a_kind, config={"limits": {"rates_per_s": {"move_stage": 0.01}}}),
    Fault("within the cooldown of its kind", "applied the first one", "refused", "cooldown_s is 60",
          second_of_a_kind, config={"limits": {"cooldown_s": {"move_stage": 60.0}}}),
    Fault("an id that was used before", "applied the first one only", "applied", "", repeated_id),
    Fault("overtaken by a newer command of its kind", "applied the newer one", "superseded", "a newer command",
          superseded, lost="the older command"),
    Fault("a newer command that is refused itself, of whatever priority", "applied the operator's that waited",
          "refused", "[limits] allow does not name set_light", refused_newcomer,
          config={"limits": {"allow": ["move_stage"]}}),
    Fault("more commands than can wait", "kept 256 waiting", "refused", "commands are waiting already", queue_full,
          lost="the commands beyond 256, each with an answer"),
    Fault("a sequence of too many frames", "took none", "refused", "more than max_frames = 5",
          _asks(c.Acquire(sequence=MDASequence(z_plan={"range": 8, "step": 1}))),
          config={"limits": {"max_frames": 5}}),
    Fault("a sequence of a billion frames", "took none, and did not try to count them", "refused",
          "more than max_frames", _asks(c.Acquire(sequence=MDASequence(time_plan={"interval": 0, "loops": 10**9})))),
    Fault("a stack that leaves the focus box", "took none", "refused", "z -20 µm is outside the limits",
          _asks(c.Acquire(sequence=MDASequence(z_plan={"range": 40, "step": 10}))), config=BOX),
    Fault("positions without end", "added none", "refused", "max_positions is 1",
          _asks(c.AddPosition(x_um=1, y_um=1)), config={"limits": {"max_positions": 1}}),
    Fault("a stimulation that is too long", "no light", "refused", "a stimulation of 500 ms is outside",
          _asks(c.Stimulate(mask_yx_px=(((0, 0), (0, 2), (2, 2)),), duration_ms=500)),
          config={"limits": {"stimulate_ms": (1, 100)}}),
    Fault("a stimulation that fails half-way", "counted its light", "failed", "the modulator was to be cleared",
          failed_stimulation),
    Fault("a sequence that would exceed the light budget", "took none", "refused", "of the budget",
          sequence_over_budget, config={"dose": {"budget_full_power_s": 3.0}}),
    Fault("a field nears its light budget", "doubled the interval and halved the light by commands of its own",
          "refused", "the rig spares the light", throttled, config={"dose": {"throttle_full_power_s": 0.02}}),
    Fault("a field has had its light budget", "closed the light before the budget was over; the plan goes on dark",
          "refused", "of its budget", budget_spent, lost="light: frames are dark from then on",
          config={"dose": {"budget_full_power_s": 0.2}}),
    Fault("a field has had its light budget and the rig cannot close its light", "ended the run", "applied", "",
          light_that_does_not_close, lost="the rest of the run", config={"dose": {"budget_full_power_s": 0.2}},
          broken={"set_light": Refused("this rig has no shutter")}),
    Fault("a light that does not become what was asked", "counts its power as unknown, and unknown as full", "failed",
          "it answers 0.7", light_of_unknown_power),
    Fault("nobody answers within approve_timeout_s", "waited, then left everything as it was", "denied",
          "nobody approved it within 0.2 s", nobody_approves,
          config={"limits": {**APPROVE["limits"], "approve_timeout_s": 0.2}}),
    Fault("an operator says no", "left everything as it was", "denied", "denied by operator", denied, config=APPROVE),
    Fault("data too old before anybody approves", "gave up waiting", "expired", "waited for approval: decided on data",
          approved_too_late, config={"limits": {"approve": ["all"], "max_age_ms": 200.0}}),
    Fault("the analysis approves its own command", "kept it waiting", "error", "the analysis cannot approve",
          approves_itself, config=APPROVE),
    Fault("approval of an unknown id", "nothing", "error", "no command 'no such command' waits", strangers_word),
    Fault("the analysis poses as an operator", "treated it as feedback", "refused", "[limits] allow does not name",
          poses_as_operator, config={"limits": {"allow": []}}),
    Fault("feedback resumes what an operator paused", "stays paused", "refused", "only an operator resumes it",
          operators_pause),
    Fault("shadow mode", "checked and recorded it, applied nothing", "shadowed", "nothing is applied in shadow mode",
          _asks(MOVE), config={"limits": {"shadow": True}}),
    Fault("a target that is no number", "refused the message where it is read", "error", "x_um", not_a_number),
    Fault("garbage at the control port", "answered it and listens on", "error", "a control message has", garbage),
    Fault("a command too large for the wire", "never left the sender", "error", "at most", too_large),
    Fault("stop while a stage hangs", "closed the light at once, then stopped", "applied", "", hung_stage,
          lost="the move that hung"),
    Fault("what waits behind a stop", "applied nothing more", "refused", "the run", after_the_stop),
    Fault("a stage that refuses", "stays where it is; the next command is applied", "failed", "it stands at",
          refusing_stage),
    Fault("a fault in a driver", "answered, logged, went on", "failed", "ZeroDivisionError", broken_driver),
    Fault("a full disk", "feedback is refused, a stop still stops, frames go on", "refused", "cannot write it down",
          full_disk, lost="rows of the facts, counted; no picture"),
    Fault("a disk that hangs", "feedback is refused, a stop overtakes it and stops", "refused", "cannot write it down",
          hung_disk, lost="rows of the facts, counted; no picture"),
    Fault("the rig died between receiving and answering", "says so to whoever asks again", "unknown",
          "look at the frames", restarted),
    Fault("the analysis falls silent", "closed the light, undid what feedback changed, opened it again", "refused",
          "the rig is on its base plan", silent_analysis, config=QUIET),
    Fault("the analysis is started again before it counts as lost", "undid what feedback changed", "refused",
          "the rig is on its base plan: the analysis was started again", restarted_analysis, config=APPROVE),
    Fault("the analysis falls silent, when_lost = pause", "closed the light and waits; goes on when it decides again",
          "refused", "the rig is on its base plan", lost_and_paused, lost="frames, until it decides again",
          config={"limits": {**QUIET["limits"], "when_lost": "pause"}}),
    Fault("the analysis falls silent, when_lost = stop", "closed the light and ended the run", "applied", "",
          lost_and_stopped, lost="the rest of the run", config={"limits": {**QUIET["limits"], "when_lost": "stop"}}),
)  # fmt: skip

WHOLE_RUNS = (
    ("the analysis is killed", "goes on; the analysis is started again and keeps what was recorded",
     "none is asked for", "",
     "frames that were being decided, counted; tracks and open events go on where `state/` was kept up (slow plans), "
     "else tracks begin anew under new numbers and open events are retracted"),
    ("the rig is killed", "starts again in a new epoch; frame numbers go on", "`unknown`", "look at the frames",
     "frames while it was gone"),
    ("the analysis is stopped (SIGSTOP)", "closed the light, undid what feedback changed, opened it again", "`refused`",
     "the rig is on its base plan", "nothing"),
    ("stop while the analysis is stopped (SIGSTOP)", "closed the light and ended", "`applied`", "",
     "decisions on the last frames"),
    ("a stage of the analysis holds its deciding thread for ever, when_lost = pause",
     "closed the light and waits in the dark", "`refused`", "the analysis is undecided",
     "frames, until somebody comes"),
)  # fmt: skip
"""Played on supervised runs: tests/system/test_faults_system.py and tests/system/test_guard_system.py."""
IN_THE_ANALYSIS = (
    ("the ROI is changed between the planes of a time point", "goes on with the next time point",
     "that time point (`planes_differ`)"),
    ("the stage moves under an exposure", "goes on with the next frame: cells of no known place would be divisions",
     "of a decision, that time point (`stage_moving`); its picture is kept and shown"),
    ("a channel that the plan takes at this time point does not come",
     "decides without it when the next time point begins; where it is the segmented one, goes on with the next",
     "of the segmented channel, that time point (`no_segment_channel`)"),
    ("frames can no longer be taken (a fault of the receiving thread)",
     "decides what it has taken, then ends with the fault; it is started again and goes on as after a kill",
     "frames until it is back"),
    ("frames come faster than they are decided, or later than `deadline_ms`, or a stage fails on one",
     "leaves whole frames out; the next frame of the field says how many are missing",
     "those frames, by cause and each by name"),
    ("the disk takes no events",
     "decides, publishes and sends commands as before; events wait and are written, in their order, with the next one",
     "of more than 10 000 that wait, the oldest"),
    ("a stage fails on every frame",
     "tells the rig of no frame as decided, so that its dead-man trips; logs each kind of fault once and counts the "
     "rest. A single frame that fails between good ones trips nothing", "those frames"),
)  # fmt: skip
"""Played in one process: tests/analyse."""
DOCUMENT = Path(__file__).parents[2] / "docs" / "decisions" / "faults.md"
_HEAD = """# What a rig does when something is wrong

Every row is a test: the first table is played on one rig (`tests/faults/test_rig_faults.py`), the second on supervised
runs of several processes (`tests/system/test_faults_system.py`, `tests/system/test_guard_system.py`), the third on the
analysis alone (`tests/analyse`). What the rig answers is recorded in `rig.sqlite`, what the analysis lost in
`analysis.sqlite`. Write this page anew with `python -m tests.cases.rig_faults`.
"""


def as_markdown() -> str:
    """Return the page."""
    columns = "| what goes wrong | what the rig did | its answer | what was lost |\n|---|---|---|---|"
    played = [_row(fault.name, fault.did, f"`{fault.state}`", fault.says, fault.lost) for fault in FAULTS]
    whole = [_row(*row) for row in WHOLE_RUNS]
    inside = ["| what goes wrong | what the analysis did | what was lost |", "|---|---|---|"]
    inside += [f"| {' | '.join(row)} |" for row in IN_THE_ANALYSIS]
    tables = [columns, *played, "\n## On whole runs\n", columns, *whole, "\n## Inside the analysis\n", *inside]
    return "\n".join([_HEAD, *tables, ""])


def _row(name: str, did: str, state: str, says: str, lost: str) -> str:
    return f"| {name} | {did} | {state}{f': … {says} …' if says else ''} | {lost} |"


if __name__ == "__main__":
    DOCUMENT.write_text(as_markdown(), encoding="utf-8")
