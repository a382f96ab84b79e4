"""From a frame back to its cause, and a run in figures: real rows in both databases."""

from __future__ import annotations

from pathlib import Path

import pytest
from facts_cases import MS, ack, cells, command, event, frame, ref, tracks

from stream.errors import StoreError
from stream.facts.analysis import AnalysisFacts
from stream.facts.provenance import provenance
from stream.facts.questions import summary
from stream.facts.rig import RigFacts
from stream.frame import Gap


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Six frames; a division in frame 2, known after frame 3, moves the stage in frame 5; frame 4 is never decided."""
    rig, analysis = RigFacts(tmp_path), AnalysisFacts(tmp_path)
    rig.gap(Gap("Camera", "Camera:p0", "s1", 0, 1, 3, "overflow"))
    for seq in range(6):
        shown = {1: ("dim",), 5: ("go",)}.get(seq, ())
        rig.frame(frame(seq, commands=shown), light_power=0.5)
    rig.command(command("dim", "set_light", power=0.5))
    rig.transition(ack("dim", "applied", first_frame=ref(1)))
    for seq in (0, 1, 2, 3, 5):
        analysis.decided(frame(seq), seq * 100 * MS + (seq + 1) * MS, cells=cells(), tracks=tracks(seq))
    analysis.event(event(2, 2, "provisional"))
    analysis.event(event(2, 3, "confirmed", revision=1))
    go = command("go", "recentre", target_um=(1.0, 2.0), cause=(event(2, 3, "confirmed").event_id, ref(3)))
    analysis.sent(go, policy="catch")
    rig.command(go)
    for state in ("received", "accepted", "applied"):
        rig.transition(ack("go", state, first_frame=ref(5) if state == "applied" else None))
    rig.command(command("late", "set_exposure", exposure_ms=5, cause=(event(2, 3, "confirmed").event_id, ref(3))))
    rig.transition(ack("late", "expired"))
    rig.command(command("open", "pause"))
    rig.loss("wire", "credit", ref=ref(4))
    rig.close()
    analysis.close()
    return tmp_path


def test_a_frame_names_its_command_the_event_and_the_frames_that_showed_it(run_dir: Path) -> None:
    """The newest command of each kind, newest first."""
    answer = provenance(run_dir, ref(5))
    assert answer["frame"]["light_power"] == 0.5
    go, dim = answer["commands"]
    assert (go["command_id"], go["state"], go["since"]["frame"]) == ("go", "applied", 5)
    assert go["event"]["status"] == "confirmed"
    assert [shown["frame"] for shown in go["event"]["frames"]] == [2, 3]
    assert (dim["command_id"], dim["event"]) == ("dim", None)


@pytest.mark.parametrize(("seq", "expected"), [(0, []), (1, ["dim"]), (4, ["dim"]), (5, ["go", "dim"])])
def test_a_command_explains_only_frames_from_its_first_on(run_dir: Path, seq: int, expected: list[str]) -> None:
    assert [c["command_id"] for c in provenance(run_dir, ref(seq))["commands"]] == expected


def test_an_unknown_frame_is_an_error_that_names_it(run_dir: Path) -> None:
    with pytest.raises(StoreError, match=r"knows no frame .*seq=99"):
        provenance(run_dir, ref(99))


def test_summary_counts_every_time_point_once(run_dir: Path) -> None:
    found = summary(run_dir)
    assert (found["frames"], found["decided"]) == (6, 5)
    assert found["lost"] == {"driver.overflow": 3, "wire.credit": 1}
    assert found["fps"] == 8.0  # five decided frames in half a second
    assert found["latency_ms"] == {"p50": 3.0, "p95": 5.6, "p99": 5.92}  # 1, 2, 3, 4, 6 ms
    assert found["stage_ms"]["segment"] == {"p50": 0.25, "p99": 0.25}
    assert found["events"] == {"division.provisional": 1, "division.confirmed": 1}
    assert {k: n for k, n in found["commands"].items() if n} == {
        "applied": 2, "expired": 1, "by_division": 1, "unanswered": 1
    }  # fmt: skip


def test_a_frame_that_nobody_owns_up_to_is_undecided(tmp_path: Path) -> None:
    rig, analysis = RigFacts(tmp_path), AnalysisFacts(tmp_path)
    for seq in range(3):
        rig.frame(frame(seq))
    analysis.decided(frame(1), 1)
    rig.flush()
    analysis.flush()
    assert summary(tmp_path)["lost"] == {"undecided": 2}  # both nodes still write
    rig.close()
    analysis.close()


def test_the_channels_of_a_time_point_count_once(tmp_path: Path) -> None:
    rig, analysis = RigFacts(tmp_path), AnalysisFacts(tmp_path)
    for seq in range(4):
        rig.frame(frame(seq, number=seq // 2))
    analysis.decided(frame(0, number=0), 1)
    analysis.decided(frame(2, number=1), 1)
    rig.close()
    analysis.close()
    found = summary(tmp_path)
    assert (found["frames"], found["lost"]) == (2, {})


def test_a_run_without_analysis_still_answers(tmp_path: Path) -> None:
    rig = RigFacts(tmp_path)
    rig.frame(frame(0))
    rig.close()
    found = summary(tmp_path)
    assert (found["frames"], found["decided"], found["lost"]) == (1, 0, {"undecided": 1})
    assert found["latency_ms"] is None
    assert provenance(tmp_path, ref(0))["commands"] == []


def test_a_folder_without_facts_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no such file; is .* the folder of a run"):
        summary(tmp_path)


def test_latency_is_silent_between_hosts(tmp_path: Path) -> None:
    rig, analysis = RigFacts(tmp_path), AnalysisFacts(tmp_path)
    rig.frame(frame(0))
    analysis.decided(frame(0), 5, same_host=False)
    rig.close()
    analysis.close()
    assert summary(tmp_path)["latency_ms"] is None
