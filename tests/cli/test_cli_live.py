"""What a person reads when a run is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream import session
from stream.cli import live
from stream.cli.screen import Screen
from stream.config import Configuration
from stream.errors import StoreError
from stream.facts import questions

LOSSES: dict[str, tuple[dict[str, int], str]] = {
    "nothing": ({}, ""),
    "two causes": (
        {"wire.overflow": 888, "driver.corrupt": 1},
        "LOST: 889 frames never reached a decision, of 1500 time points: 888 wire.overflow, 1 driver.corrupt",
    ),
}


@pytest.mark.parametrize(("lost", "said"), LOSSES.values(), ids=LOSSES)
def test_what_was_lost_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: dict[str, int], said: str
) -> None:
    heard: list[str] = []
    (tmp_path / "rig.sqlite").touch()
    monkeypatch.setattr(session, "run", lambda *args, **more: session.Report(tmp_path, started=True))
    monkeypatch.setattr(questions, "summary", lambda run_dir: {"frames": 1500, "lost": lost})
    screen: Any = Screen(as_json=False)
    monkeypatch.setattr(screen, "say", heard.append)
    result = live._run_nodes(Configuration(), tmp_path, screen, None)
    assert result["lost"] == lost
    assert [line for line in heard if line.startswith("LOST")] == [said] * bool(said)


def test_a_run_on_a_full_disk_ends_by_saying_that_nothing_is_left_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "run", lambda *args, **more: session.Report(tmp_path, started=True))
    with pytest.raises(StoreError, match="NOTHING was recorded: the disk had no room"):
        live._run_nodes(Configuration(), tmp_path, Screen(as_json=False), None)
