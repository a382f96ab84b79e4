"""What can go wrong with a whole run: each fault is told, and the run goes on or ends well."""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from stream.clock import wall_ns
from stream.command import Ack, Action, Cause, Command, SetExposure, SetRoi, Stop
from stream.event import Event, event_id
from stream.facts.eventlog import read_events
from stream.facts.run_folder import read_configuration
from stream.score.truth import read_rows
from stream.wire.control import ControlClient
from tests.system.conftest import BackgroundRun

Begin = Callable[..., BackgroundRun]
FAST = {"plan": {"exposure_ms": 40.0, "interval_ms": 40.0}}
"""Fast enough for a short test, slow enough for a busy machine."""


def ask(run: BackgroundRun, action: Action, origin: str = "operator", **more: Any) -> Ack:
    """Send one command to a run and wait for its final answer."""
    command = Command(
        command_id=uuid.uuid4().hex, action=action, cause=Cause(origin=origin), issued_wall_ns=wall_ns(), **more
    )
    with ControlClient(read_configuration(run.run_dir).wire.control, name="test") as client:
        answer = client.request(command, 10)
    assert isinstance(answer, Ack)
    return answer


def test_a_killed_analysis_is_started_again_keeps_what_was_recorded_and_closes_what_was_open(begin: Begin) -> None:
    run = begin("democam.toml", {**FAST, "record": {"labels": True}})
    run.wait(lambda: run.decided() > 20)
    highest = run.query("analysis.sqlite", "SELECT max(track_id) FROM tracks")[0][0]
    left = _left_open(run, highest)
    folder = run.run_dir / "labels" / left.field.replace(":", "_")
    run.wait(lambda: len(list(folder.glob("mask*.tif"))) > 20)
    before = run.pid("analyse")
    os.kill(before, signal.SIGKILL)
    run.wait(lambda: run.pid("analyse") != before)
    masks = {path: path.read_bytes() for path in folder.glob("mask*.tif")}
    killed_at = run.taken()
    run.wait(lambda: run.query("analysis.sqlite", "SELECT count(*) FROM frames WHERE frame > ?", killed_at)[0][0] > 10)
    first_new = run.query("analysis.sqlite", "SELECT min(track_id) FROM tracks WHERE born > ?", killed_at)[0][0]
    assert first_new is None or first_new > max(left.daughter_ids), "tracks begin anew, under new numbers"
    taken = run.query("rig.sqlite", "SELECT max(seq) + 1 - count(*), count(DISTINCT epoch) FROM frames")[0]
    assert taken == (0, 1), "the rig must not notice that an analysis dies"
    run.end()
    assert run.report is not None
    assert run.report.restarts == {"analyse": 1}
    assert run.report.error == ""
    assert {path: path.read_bytes() for path in masks} == masks, "masks from before are as they were"
    rows = read_rows(folder / "res_track.txt")[:, 0]
    assert len(np.unique(rows)) == len(rows)
    shown = {path.name: np.unique(tifffile.imread(path)) for path in folder.glob("mask*.tif")}
    assert len(shown) > len(masks)
    assert set(np.unique(np.concatenate([*shown.values()])).tolist()) - {0} == set(rows.tolist())
    for path in (run.run_dir / "events.jsonl", folder / "events.jsonl"):
        words = {said["event_id"]: (said["status"], said["reason"]) for said in read_events(path)}
        assert words[left.event_id] == ("retracted", "restart")
        assert [word for word in words.values() if word[0] == "provisional"] == []


def test_a_killed_analysis_whose_state_was_kept_goes_on_with_its_tracks(begin: Begin) -> None:
    slow = {"exposure_ms": 100.0, "interval_ms": 400.0}
    patient = {"alive_timeout_s": 60.0}
    run = begin("democam.toml", {"plan": slow, "limits": patient, "record": {"labels": True, "state": 1.0}})
    run.wait(lambda: run.decided() > 8)
    before, decided = run.pid("analyse"), run.decided()
    run.wait(lambda: run.decided() > decided)  # just now, so that its state is written and the next frame is not near
    ids = "SELECT DISTINCT track_id FROM measured WHERE frame"
    known = {row[0] for row in run.query("analysis.sqlite", f"{ids} = (SELECT max(frame) FROM frames)")}
    os.kill(before, signal.SIGKILL)
    run.wait(lambda: run.pid("analyse") != before)
    killed_at = run.taken()
    run.wait(lambda: run.query("analysis.sqlite", "SELECT count(*) FROM frames WHERE frame > ?", killed_at)[0][0] > 4)
    after = {row[0] for row in run.query("analysis.sqlite", f"{ids} > ?", killed_at)}
    result = run.end()
    assert run.report is not None
    assert run.report.restarts == {"analyse": 1}
    assert len(known & after) >= 0.8 * len(known) > 0
    told = [json.loads(data) for (data,) in run.query("rig.sqlite", "SELECT data FROM notices ORDER BY id")]
    assert [notice["reason"] for notice in told if "on" in notice] == [
        "the analysis was started again: back to the base plan", "the analysis decides again",
    ], "long before it counts as lost"  # fmt: skip
    assert result["lost"].keys() == {"undecided"}, "what was taken while nobody analysed"
    assert "restart" not in {said["reason"] for said in read_events(run.run_dir / "events.jsonl")}
    assert not list((run.run_dir / "state").iterdir())


def _left_open(run: BackgroundRun, track_id: int) -> Event:
    """Write into the log of a running analysis a division that it will not live to close."""
    field, frame = run.query("analysis.sqlite", "SELECT field, max(frame) FROM frames")[0]
    daughters = (track_id + 1000, track_id + 1001)
    event = Event(
        "division", event_id(field, frame, "division", track_id), 0, "provisional", field, frame, frame, 0.5, track_id,
        daughters, (1.0, 1.0), ((1.0, 1.0), (1.0, 9.0)),
    )  # fmt: skip
    with (run.run_dir / "events.jsonl").open("ab") as log:
        log.write(event.as_line().encode() + b"\n")
    return event


def test_a_killed_rig_is_started_again_in_a_new_epoch(begin: Begin) -> None:
    run = begin("democam.toml", FAST)
    run.wait(lambda: run.decided() > 20)
    os.kill(run.pid("acquire"), signal.SIGKILL)
    run.wait(lambda: run.query("rig.sqlite", "SELECT count(DISTINCT epoch) FROM frames")[0][0] == 2)
    run.wait(lambda: run.query("analysis.sqlite", "SELECT count(*) FROM frames WHERE epoch = 1")[0][0] > 10)
    frames = [row[0] for row in run.query("rig.sqlite", "SELECT frame FROM frames ORDER BY id")]
    assert frames == sorted(set(frames)), "frame numbers of a field must go on"
    run.end()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot stop a process by signal")
def test_a_stopped_analysis_sends_the_rig_back_to_its_base_plan(begin: Begin) -> None:
    run = begin("democam.toml", {**FAST, "limits": {"alive_timeout_s": 3.0}})
    run.wait(lambda: run.decided() > 10)
    # On a busy machine the analysis may be late, and the rig on its plan, for a moment.
    run.wait(lambda: ask(run, SetExposure(exposure_ms=50), origin="policy").state == "applied")
    os.kill(run.pid("analyse"), signal.SIGSTOP)
    try:
        run.wait(lambda: any("base plan on" in line for line in run.lines))
        changed_last = "(SELECT max(id) FROM frames WHERE exposure_ms = 50.0)"
        base = f"SELECT count(*) FROM frames WHERE exposure_ms = 40.0 AND id > {changed_last}"
        run.wait(lambda: run.query("rig.sqlite", base)[0][0] > 3)
        dark, *_, light = run.query("rig.sqlite", "SELECT command FROM commands WHERE origin = 'rig' ORDER BY id")
        assert '"on":false' in dark[0], "the light closes before anything else"
        assert '"on":true' in light[0], "and opens after everything else"
        refused = ask(run, SetExposure(exposure_ms=60), origin="policy")
        assert refused.state == "refused"
        assert "base plan" in refused.reason
        assert ask(run, SetExposure(exposure_ms=80)).state == "applied", "an operator is always heard"
    finally:
        os.kill(run.pid("analyse"), signal.SIGCONT)
    run.wait(lambda: any("base plan off" in line for line in run.lines), 60)
    run.wait(lambda: ask(run, SetExposure(exposure_ms=35), origin="policy").state == "applied")
    os.kill(run.pid("analyse"), signal.SIGSTOP)
    try:
        assert ask(run, Stop()).state == "applied", "a stop needs no analysis"
        run.wait(lambda: run.query("rig.sqlite", "SELECT 1 FROM meta WHERE key = 'ended'"))
    finally:
        os.kill(run.pid("analyse"), signal.SIGCONT)
    run.end()


def test_a_new_roi_is_a_new_epoch_with_readback_and_the_tracks_go_on(begin: Begin) -> None:
    run = begin("democam.toml", FAST)
    run.wait(lambda: run.decided() > 20)
    answer = ask(run, SetRoi(roi_px=(100, 100, 300, 300)))
    assert answer.state == "applied"
    assert answer.readback["roi_px"] == [100, 100, 300, 300]
    assert answer.first_frame is not None
    assert answer.first_frame.epoch == 1
    run.wait(lambda: run.query("analysis.sqlite", "SELECT count(*) FROM frames WHERE epoch = 1")[0][0] > 10)
    result = run.end()
    joined = "FROM cells c JOIN frames f ON f.id = c.frame_id WHERE epoch ="
    both = f"SELECT count(*) FROM (SELECT track_id {joined} 0 INTERSECT SELECT track_id {joined} 1)"
    inside = f"SELECT max(n) FROM (SELECT count(*) n {joined} 1 GROUP BY frame_id)"
    shared, most = run.query("analysis.sqlite", both)[0][0], run.query("analysis.sqlite", inside)[0][0]
    assert shared >= 0.8 * most > 0
    assert result["lost"] == {}


def test_a_missing_cfg_ends_the_run_with_one_clear_line(tmp_path: Path) -> None:
    from stream import session
    from stream.config import CameraSettings, Configuration, RunSettings

    options = {"cfg": str(tmp_path / "nowhere.cfg")}
    config = Configuration(run=RunSettings(out=tmp_path), camera=CameraSettings(driver="micromanager", options=options))
    report = session.run(config, tmp_path, ("acquire",))
    assert "nowhere.cfg" in report.error
    assert report.restarts == {}
