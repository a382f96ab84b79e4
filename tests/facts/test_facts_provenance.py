"""From a frame to the command, the rule, the event and the frames that showed it: real rows in both files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from facts_cases import FIELD, MS, ack, command, event, frame, ref

from drivers.micromanager.programme import Programme
from stream.clock import wall_ns
from stream.command import Command, Target
from stream.config import PlanSettings
from stream.errors import StoreError
from stream.facts.analysis import AnalysisFacts
from stream.facts.chain import in_words
from stream.facts.provenance import find_frame, provenance, why
from stream.facts.rig import RigFacts
from stream.frame import Frame, Gap, Index

CAUSE = (event(2, 3, "confirmed").event_id, ref(3))


def shot(seq: int, *commands: str, position: int = 0, aside: str = "", **where: Any) -> Frame:
    """A frame taken now, at a position of the plan."""
    made = frame(seq, commands=commands, **where)
    stamps = replace(made.stamps, wall_ns=wall_ns())
    field = f"Camera:p{position}{f'/{aside}' if aside else ''}"
    return replace(made, stamps=stamps, index=Index(t=seq, p=position), field=field)


def at(asked: Command, position: int) -> Command:
    return asked.model_copy(update={"target": Target(position=position)})


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RigFacts]:
    facts = RigFacts(tmp_path)
    yield facts
    facts.close()


Take = Callable[..., dict[str, Any]]


@pytest.fixture
def explain(rig: RigFacts, tmp_path: Path) -> Take:
    """Record commands, each shown in the frame of its place, and explain one of the frames."""

    def take(*asked: Command, of: int, last: Frame | None = None) -> dict[str, Any]:
        for seq, one in enumerate(asked):
            rig.command(one)
            rig.transition(ack(one.command_id, "applied", first_frame=ref(seq), readback={"position": 1}))
            rig.frame(shot(seq, one.command_id))
        if last is not None:
            rig.frame(last)
        rig.flush()
        return provenance(tmp_path, ref(of))

    return take


def commands_of(found: dict[str, Any]) -> dict[str, str]:
    return {name: s["command_id"] for name, s in found["settings"].items() if s["command_id"]}


def test_each_setting_names_the_newest_command_that_set_it(explain: Take) -> None:
    found = explain(
        command("a", "move_stage", x_um=1.0, y_um=2.0, z_um=3.0),
        command("b", "recentre", target_um=(5.0, 6.0)),
        command("c", "move_stage", z_um=4.0),
        command("d", "set_light", power=0.3, on=True),
        command("e", "set_light", on=False),
        command("f", "set_channel", channel="Cy5"),
        command("g", "set_exposure", exposure_ms=9.0),
        command("h", "set_interval", interval_ms=50.0),
        of=7,
    )
    assert commands_of(found) == {
        "x_um": "b", "y_um": "b", "z_um": "c", "light_power": "d", "light_on": "e", "channel": "f",
        "exposure_ms": "g", "interval_ms": "h",
    }  # fmt: skip
    assert [one["command_id"] for one in found["commands"]] == ["h", "g", "f", "e", "d", "c", "b"]
    assert found["settings"]["binning"] == {"value": 1, "command_id": None}


@pytest.mark.parametrize(
    ("asked", "position", "expected"),
    [
        (at(command("m", "move_stage", x_um=1.0), 0), 0, {"x_um": "m"}),
        (at(command("m", "move_stage", x_um=1.0), 1), 0, {}),
        (at(command("m", "set_interval", interval_ms=5.0), 1), 0, {}),
        (at(command("m", "set_interval", interval_ms=5.0), 1), 1, {"interval_ms": "m"}),
        (at(command("m", "set_exposure", exposure_ms=5.0), 1), 0, {}),
        (at(command("m", "set_exposure", exposure_ms=5.0), 1), 1, {"exposure_ms": "m"}),
        (at(command("m", "set_light", power=0.5), 1), 0, {"light_power": "m"}),
        (command("m", "add_position", x_um=1.0, y_um=1.0), 1, {"x_um": "m", "y_um": "m", "z_um": "m"}),
        (command("m", "add_position", x_um=1.0, y_um=1.0), 0, {}),
    ],
)
def test_what_is_bound_to_a_position_explains_that_one(
    explain: Take, asked: Command, position: int, expected: dict[str, str]
) -> None:
    found = explain(asked, of=1, last=shot(1, position=position))
    assert commands_of(found) == expected


@pytest.mark.parametrize(("channel", "expected"), [("DAPI", {"exposure_ms": "m"}), ("FITC", {})])
def test_an_exposure_of_a_channel_explains_that_one(explain: Take, channel: str, expected: dict[str, str]) -> None:
    asked = command("m", "set_exposure", exposure_ms=5.0).model_copy(update={"target": Target(channel="DAPI")})
    found = explain(asked, of=1, last=replace(shot(1), channel=channel))
    assert commands_of(found) == expected


EVERYWHERE, HERE, DAPI, BOTH = Target(), Target(position=0), Target(channel="DAPI"), Target(position=0, channel="DAPI")


@pytest.mark.parametrize(
    ("targets", "winner"),
    [
        ((HERE, DAPI), 0),
        ((DAPI, HERE), 1),
        ((HERE, BOTH, DAPI), 0),
        ((BOTH, DAPI), 1),
        ((BOTH, HERE), 1),
        ((HERE, EVERYWHERE, DAPI), 2),
        ((HERE, DAPI, EVERYWHERE), 2),
        ((EVERYWHERE, BOTH), 1),
        ((HERE, DAPI, HERE, DAPI), 2),
    ],
)
def test_the_exposure_that_the_driver_heeds_is_named(explain: Take, targets: tuple[Target, ...], winner: int) -> None:
    asked = [
        command(f"c{n}", "set_exposure", exposure_ms=5.0 + n).model_copy(update={"target": target})
        for n, target in enumerate(targets)
    ]
    found = explain(*asked, of=len(asked), last=replace(shot(len(asked)), channel="DAPI"))
    assert commands_of(found) == {"exposure_ms": f"c{winner}"}
    assert heeded(targets) == 5.0 + winner, "by the driver"


def heeded(targets: Sequence[Target]) -> float:
    """Return with which exposure a plan takes p0 in DAPI after these commands."""
    plan = PlanSettings(mode="mda", channels=("DAPI", "FITC"), positions_um=((0.0, 0.0, 0.0), (9.0, 0.0, 0.0)))
    programme = Programme(plan, (0.0, 0.0, 0.0), (5.0, 5.0), 0)
    for n, target in enumerate(targets):
        programme.set_exposure(5.0 + n, target)
    here: Any = SimpleNamespace(aside="", index=Index(p=0), event=SimpleNamespace(exposure=None))
    return programme.exposure_of(here, "DAPI")


@pytest.mark.parametrize(
    ("aside", "expected"), [("burst", {"taken": "burst"}), ("other", {"taken": "other"}), ("", {})]
)
def test_a_sequence_explains_the_frames_that_it_took(explain: Take, aside: str, expected: dict[str, str]) -> None:
    found = explain(command("burst", "acquire", sequence={}), of=1, last=shot(1, aside=aside))
    assert commands_of(found) == expected
    assert [c["command_id"] for c in found["commands"]] == (["burst"] if aside == "burst" else [])


def test_an_effect_is_known_when_the_frame_that_named_it_was_lost(rig: RigFacts, tmp_path: Path) -> None:
    """Its first frame stands in the final answer, too; a later epoch counts as later whatever its seq."""
    rig.frame(shot(9))
    rig.command(command("a", "set_exposure", exposure_ms=3.0))
    rig.transition(ack("a", "applied", first_frame=ref(10)))
    rig.frame(shot(0, epoch=1))
    rig.flush()
    assert provenance(tmp_path, ref(9))["commands"] == []
    (found,) = provenance(tmp_path, ref(0, epoch=1))["commands"]
    assert (found["command_id"], found["since"]["epoch"], found["since"]["seq"]) == ("a", 0, 10)


def write_a_loop(run_dir: Path) -> tuple[RigFacts, AnalysisFacts]:
    """A division in frame 2, known after 3 and retracted after 5, has a command that frame 5 shows."""
    rig, analysis = RigFacts(run_dir), AnalysisFacts(run_dir)
    for seq in range(5):
        rig.frame(shot(seq))
    go = command("go", "recentre", target_um=(1.0, 2.0), cause=CAUSE)
    go = go.model_copy(update={"cause": go.cause.model_copy(update={"origin": "catch", "rule": "come back"})})
    analysis.sent(go, policy="catch")
    rig.command(go, ack("go", "received"))
    rig.progress(ack("go", "accepted"))
    times = {"boundary": 1.0, "device": 2.0, "total": 4.0}
    rig.transition(ack("go", "applied", first_frame=ref(5), timings_ms=times))
    rig.command(command("no", "set_light", on=True, cause=CAUSE), ack("no", "received"))
    rig.transition(ack("no", "refused", reason="[limits] allow does not name set_light"))
    rig.loss("wire", "credit", ref=ref(4))
    rig.gap(Gap("Camera", FIELD, "s1", 0, 4, 2, "overflow"))
    analysis.dropped("catch", "overrun", event(2, 3))
    analysis.flush()
    rig.frame(shot(5, "go"))
    for seq in range(6):
        analysis.decided(shot(seq), seq * 100 * MS + (7 + seq) * MS)
    for emitted, status in ((2, "provisional"), (3, "confirmed"), (5, "retracted")):
        analysis.event(event(2, emitted, status, revision=emitted))
    rig.flush()
    analysis.flush()
    return rig, analysis


@pytest.fixture
def looped(tmp_path: Path) -> Path:
    """The folder of that run, ended."""
    for facts in write_a_loop(tmp_path):
        facts.close()
    return tmp_path


WRITE_AND_DIE = """
import os, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_facts_provenance import write_a_loop
open_files = write_a_loop(Path({run_dir!r}))
os._exit(9)
"""


def test_the_whole_chain_of_a_frame(looped: Path) -> None:
    is_the_whole_chain(why(looped, frame=f"{FIELD}:5"))


def test_a_run_that_goes_on_can_be_asked(tmp_path: Path) -> None:
    nodes = write_a_loop(tmp_path)
    is_the_whole_chain(why(tmp_path, frame=f"{FIELD}:5"))
    for facts in nodes:
        facts.close()


def test_a_run_whose_nodes_were_killed_can_be_asked(tmp_path: Path) -> None:
    code = WRITE_AND_DIE.format(folder=str(Path(__file__).parent), run_dir=str(tmp_path))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    is_the_whole_chain(why(tmp_path, frame=f"{FIELD}:5"))


def is_the_whole_chain(found: dict[str, Any]) -> None:
    assert found["frame"]["decided"] == {
        "age_ms": pytest.approx(12.0, abs=0.01),
        "stage_ms": {"segment": 0.25},
        "missed": 0,
    }
    (go,) = found["commands"]
    assert (go["origin"], go["rule"], go["policy"], go["sets"]) == ("catch", "come back", "catch", ["x_um", "y_um"])
    assert [answer["state"] for answer in go["answers"]] == ["received", "accepted", "applied"]
    assert go["age_ms"]["applied"] == pytest.approx(go["age_ms"]["arrived"] + 4.0)
    assert go["event"]["revision"] == 3
    assert [(r["revision"], r["status"]) for r in go["event"]["revisions"]] == [
        (2, "provisional"), (3, "confirmed"), (5, "retracted")
    ]  # fmt: skip
    assert [(f["frame"], f["happened"], f["known"]) for f in go["event"]["frames"]] == [
        (2, True, False),
        (3, False, True),
    ]
    assert go["event"]["frames"][0]["decided_ms"] == pytest.approx(9.0, abs=0.01)
    assert {(lost["stage"], lost["reason"], lost["count"]) for lost in found["lost"]} >= {
        ("wire", "credit", 1), ("driver", "overflow", 2), ("policy catch", "overrun", 1)
    }  # fmt: skip


def test_a_command_without_effect_and_an_event_are_explained_too(looped: Path) -> None:
    refused = why(looped, command="no")
    assert refused["frame"] is None
    assert refused["commands"][0]["answers"][-1]["reason"] == "[limits] allow does not name set_light"
    assert refused["commands"][0]["event"]["event_id"] == CAUSE[0]
    told = why(looped, event=CAUSE[0])
    assert [c["command_id"] for c in told["commands"]] == ["go", "no"]
    assert [f["frame"] for f in told["event"]["frames"]] == [2, 3, 4, 5]


def test_the_chain_reads_as_sentences(looped: Path) -> None:
    said = in_words(why(looped))
    for line in (
        "  x_um 0, y_um 0  ← go",
        "← command go",
        "    recentre target_um (1, 2)",
        "    first seen in frame 5 of Camera:p0",
        "    received → accepted → applied",
        "  ← rule 'come back' of policy catch",
        "  ← event Camera:p0/f2/division/7: division of cell 7 into 8 and 9",
        "      revision 3: confirmed after frame 3, confidence 0.90  ← acted on",
        "    ← frame 2 of Camera:p0: it happened here, decided 9.0 ms after it was in hand",
        "lost around it: 1 by wire (credit) in Camera:p0, frame 4",
    ):
        assert line in said.splitlines(), said
    assert "refused ([limits] allow does not name set_light)" in in_words(why(looped, command="no"))
    assert in_words(why(looped, event=CAUSE[0])).startswith("event Camera:p0/f2/division/7: division of cell 7")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"frame": "Camera:p0:99"}, r"took no frame Camera:p0:99; its fields are Camera:p0"),
        ({"frame": "99"}, "name its field and number"),
        ({"command": "never"}, "knows no command 'never'"),
        ({"event": "never"}, "knows no event 'never'"),
        ({"command": "a", "event": "b"}, "ask for one"),
    ],
)
def test_what_is_not_there_is_said(rig: RigFacts, tmp_path: Path, asked: dict[str, str], said: str) -> None:
    rig.frame(shot(0))
    rig.flush()
    with pytest.raises(StoreError, match=said):
        why(tmp_path, **asked)


def test_the_newest_frame_is_found_across_epochs(rig: RigFacts, tmp_path: Path) -> None:
    for epoch, seq in ((0, 8), (1, 0)):
        rig.frame(shot(seq, epoch=epoch))
    rig.flush()
    assert find_frame(tmp_path) == ref(0, epoch=1)
