"""A night in short: the shipped protocol on the virtual microscope, feedback and an operator beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from stream.command import Acquire
from stream.config import load
from stream.facts.questions import summary
from stream.facts.run_folder import read_configuration
from stream.session import ask_rig
from tests.system.conftest import EXAMPLES, BackgroundRun

LOOPS = 16
PHASES = [{"interval": 0.4, "loops": 10}, {"interval": 0.6, "loops": LOOPS - 9}]


def test_a_protocol_runs_to_its_end_with_feedback_and_an_operator_beside_it(
    begin: Callable[..., BackgroundRun],
) -> None:
    protocol = load(EXAMPLES / "night.toml").plan.model_dump(mode="json")["protocol"] | {"time_plan": PHASES}
    run = begin("night.toml", {"plan": {"protocol": protocol, "frames": LOOPS, "interval_ms": 400.0}})
    run.wait(lambda: run.taken() > 5)
    look = {"sequence": {"time_plan": {"interval": 0, "loops": 5}}, "at_um": (-140.0, 5.0), "sequenced": True}
    control = read_configuration(run.run_dir).wire.control
    assert ask_rig(control, Acquire.model_validate(look)) in ("received", "accepted", "applied")
    run._thread.join(90)
    assert run.report is not None
    assert run.report.error == ""
    taken = run.query("rig.sqlite", "SELECT field, c, z, frame FROM frames ORDER BY id")
    edits = run.query("rig.sqlite", "SELECT command FROM commands WHERE kind = 'set_interval'")
    _the_plan_is_whole(taken, {json.loads(command)["target"]["position"] for (command,) in edits})
    _the_look_is_beside_it(run, taken)
    lateness = run.query("rig.sqlite", "SELECT count(*), min(late_ms) FROM lateness")
    assert lateness == [(len(taken), lateness[0][1])]
    assert lateness[0][1] >= 0
    finals = run.query("rig.sqlite", "SELECT command_id, count(*) FROM transitions WHERE final GROUP BY command_id")
    assert all(count == 1 for _, count in finals)
    assert summary(run.run_dir)["lost"] == {}


def _the_plan_is_whole(taken: list[Any], edited: set[int]) -> None:
    """Every position has all its time points, gapless, with the channels and planes of the protocol.

    One that was on a schedule of its own meanwhile has as many as a busy machine could take.
    """
    for p in range(3):
        field = f"Camera:p{p}"
        for c, z in ((0, 0), (1, 0), (0, 1), (1, 2)):
            numbers = [frame for name, channel, plane, frame in taken if (name, channel, plane) == (field, c, z)]
            if z and p != 2:
                assert numbers == []
                continue
            assert numbers == list(range(0, numbers[-1] + 1, 5 if c else 1))
            least = LOOPS - 1 if p not in edited else LOOPS // 2
            assert numbers[-1] >= least - least % (5 if c else 1)


def _the_look_is_beside_it(run: BackgroundRun, taken: list[Any]) -> None:
    """The operator's burst has a field of its own, which no chain follows, and names its command."""
    ((command_id, readback),) = run.query(
        "rig.sqlite",
        "SELECT c.command_id, t.readback FROM commands c JOIN transitions t USING (command_id)"
        " WHERE c.kind = 'acquire' AND c.origin = 'operator' AND t.state = 'applied'",
    )
    field = f"Camera:p0/{command_id}"
    assert field in readback
    assert [frame for name, _, _, frame in taken if name == field] == list(range(5))
    places = run.query("rig.sqlite", "SELECT DISTINCT x_um, y_um FROM frames WHERE field = ?", field)
    assert places == [(-140.0, 5.0)]
    followed = {name for (name,) in run.query("analysis.sqlite", "SELECT DISTINCT field FROM frames")}
    assert followed == {"Camera:p0", "Camera:p1", "Camera:p2"}
