"""What the rig writes, and what it knows again after a restart."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from facts_cases import FIELD, ack, command, frame, ref

from stream.command import Ack, AckState
from stream.errors import StoreError
from stream.facts.database import connect
from stream.facts.rig import RigFacts
from stream.frame import Gap


def read(run_dir: Path, sql: str) -> list[tuple[object, ...]]:
    connection = connect(run_dir / "rig.sqlite", 1)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_a_frames_row_says_what_the_frame_says(tmp_path: Path) -> None:
    facts = RigFacts(tmp_path)
    facts.frame(frame(3, commands=("a", "b")), light_power=0.25)
    facts.flush()
    columns = "run, camera, session, epoch, seq, field, frame, roi_px, exposure_ms, light_power, t_pop_ns, commands"
    assert read(tmp_path, f"SELECT {columns} FROM frames") == [
        ("run", "Camera", "s1", 0, 3, FIELD, 3, "[0, 0, 6, 4]", 10.0, 0.25, 300_000_001, '["a", "b"]')
    ]
    assert read(tmp_path, "SELECT command_id, seq FROM effects ORDER BY command_id") == [("a", 3), ("b", 3)]
    facts.close()


def test_counts_by_table(tmp_path: Path) -> None:
    facts = RigFacts(tmp_path)
    facts.frame(frame(0))
    facts.gap(Gap("Camera", FIELD, "s1", 0, 0, 2, "overflow"))
    facts.command(command("c", "pause"))
    facts.transition(ack("c", "received"))
    facts.transition(ack("c", "applied"))
    facts.loss("wire", "credit", 4, ref=ref(1))
    facts.flush()
    assert facts.counts() == {"frames": 1, "gaps": 1, "commands": 1, "transitions": 2, "losses": 1}
    facts.close()


def test_the_newest_answer_is_known_whole_before_and_after_a_restart(tmp_path: Path) -> None:
    facts = RigFacts(tmp_path)
    assert facts.known("c") is None
    facts.command(command("c", "set_exposure", exposure_ms=5))
    assert facts.known("c") == Ack(command_id="c", state=AckState.RECEIVED)
    facts.transition(ack("c", "accepted"))
    answer = ack("c", "applied", readback={"exposure_ms": 5.0}, first_frame=ref(7), timings_ms={"device": 1.5})
    facts.transition(answer)
    assert facts.known("c") == answer
    facts.close()
    again = RigFacts(tmp_path)
    assert again.known("c") == answer
    again.close()


def test_a_command_comes_once(tmp_path: Path) -> None:
    facts = RigFacts(tmp_path)
    facts.command(command("c", "pause"))
    with pytest.raises(StoreError, match="UNIQUE"):
        facts.command(command("c", "resume"))
    facts.close()


def test_after_a_restart_an_unanswered_command_is_unknown_and_an_answered_one_is_not(tmp_path: Path) -> None:
    facts = RigFacts(tmp_path)
    for name in ("silent", "accepted", "refused"):
        facts.command(command(name, "pause"))
    facts.transition(ack("accepted", "accepted"))
    facts.transition(ack("refused", "refused", reason="limits"))
    facts.close()
    for _ in range(2):  # the second restart says nothing twice
        again = RigFacts(tmp_path)
        states = {name: getattr(again.known(name), "state", None) for name in ("silent", "accepted", "refused")}
        assert states == {"silent": "unknown", "accepted": "unknown", "refused": "refused"}
        assert again.counts()["transitions"] == 4
        again.close()


def test_epochs_and_frame_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    facts = RigFacts(tmp_path)
    assert (facts.last_epoch(), facts.next_frames()) == (-1, {})
    facts.frame(frame(0, epoch=0))
    facts.frame(frame(0, epoch=4, number=9))
    assert facts.last_epoch() == 4
    facts.close()
    again = RigFacts(tmp_path)
    assert (again.last_epoch(), again.next_frames()) == (4, {FIELD: 10})
    again.close()


def test_light_is_added_up_by_field_over_restarts(tmp_path: Path) -> None:
    facts = RigFacts(tmp_path, mw_per_mm2=2.0)
    facts.frame(frame(0), light_power=0.5)
    facts.frame(frame(1), light_power=1.0)
    facts.close()
    again = RigFacts(tmp_path, mw_per_mm2=2.0)
    again.frame(frame(2), light_power=None)
    again.flush()
    dose = again.dose()[FIELD]
    assert (dose.frames, dose.exposure_ms, dose.full_power_ms, dose.unknown_power_ms) == (3, 30.0, 15.0, 10.0)
    assert dose.uj_per_mm2 == 30.0  # 2 mW/mm² for 15 ms
    again.close()


def test_without_calibration_the_ledger_says_so(tmp_path: Path) -> None:
    facts = RigFacts(tmp_path)
    facts.frame(frame(0), light_power=0.5)
    facts.close()
    assert read(tmp_path, "SELECT uj_per_mm2, unit FROM dose") == [(None, "not calibrated")]


def test_meta_is_json(tmp_path: Path) -> None:
    facts = RigFacts(tmp_path)
    facts.meta("devices", {"camera": "DCam", "path": tmp_path})
    facts.close()
    [(text,)] = read(tmp_path, "SELECT value FROM meta WHERE key = 'devices'")
    assert json.loads(str(text)) == {"camera": "DCam", "path": str(tmp_path)}


DIES_AFTER_ANSWERING = """
import os, sys
from pathlib import Path
from facts_cases import ack, command, frame
from stream.facts.rig import RigFacts

facts = RigFacts(Path(sys.argv[1]))
facts.frame(frame(0, epoch=6))
facts.command(command("done", "pause"))
facts.transition(ack("done", "applied"))
facts.command(command("open", "resume"))
os.kill(os.getpid(), 9)
"""


def test_what_was_said_to_be_kept_outlives_kill_9(tmp_path: Path) -> None:
    """Commands, answers and the first frame of an epoch are on disk when their calls return."""
    dead = subprocess.run(
        [sys.executable, "-c", DIES_AFTER_ANSWERING, str(tmp_path)], cwd=Path(__file__).parent, check=False, timeout=60
    )
    assert dead.returncode == -9
    facts = RigFacts(tmp_path)
    assert facts.last_epoch() == 6
    states = [getattr(facts.known(name), "state", None) for name in ("done", "open")]
    assert states == ["applied", "unknown"]
    facts.close()


def test_light_that_no_frame_took_is_added(tmp_path: Path) -> None:
    facts = RigFacts(tmp_path, mw_per_mm2=2.0)
    facts.frame(frame(0), light_power=0.5, between_ms=20.0)
    facts.light(FIELD, 7.0)
    facts.frame(frame(1), light_power=None)
    facts.flush()
    dose = facts.dose()[FIELD]
    assert (dose.frames, dose.exposure_ms, dose.full_power_ms, dose.unknown_power_ms) == (2, 20.0, 32.0, 10.0)
    assert dose.uj_per_mm2 == 64.0
    facts.close()


def test_notices_are_kept_also_in_a_run_that_began_without_them(tmp_path: Path) -> None:
    RigFacts(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "rig.sqlite")) as older:
        older.execute("DROP TABLE notices")
    facts = RigFacts(tmp_path)
    facts.notice("dose", {"field": FIELD, "level": "warn"})
    facts.close()
    [(notice, data)] = read(tmp_path, "SELECT notice, data FROM notices")
    assert (notice, json.loads(str(data))["level"]) == ("dose", "warn")
