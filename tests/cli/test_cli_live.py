"""What a person reads when a run is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream import session
from stream.cli import live
from stream.cli.screen import Screen
from stream.config import Configuration
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
    monkeypatch.setattr(session, "run", lambda *args, **more: session.Report(tmp_path, started=True))
    monkeypatch.setattr(questions, "summary", lambda run_dir: {"frames": 1500, "lost": lost})
    screen: Any = Screen(as_json=False)
    monkeypatch.setattr(screen, "say", heard.append)
    result = live._run_nodes(Configuration(), tmp_path, screen, None)
    assert result["lost"] == lost
    assert [line for line in heard if line.startswith("LOST")] == [said] * bool(said)
