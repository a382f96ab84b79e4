"""The analysis as a whole, fed by hand: what it says when frames, stages or its own threads fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream.config import ChainSettings
from stream.errors import StageError
from stream.frame import Index
from tests.cases.hand_analysis import Blind, Hand, frame


def test_planes_of_several_shapes_are_a_lost_time_point_and_the_stream_goes_on(tmp_path: Path) -> None:
    """The ROI is changed between the planes of time point 1."""
    sides = {(0, 0): 8, (0, 1): 8, (1, 0): 8, (1, 1): 6, (2, 0): 6, (2, 1): 6}
    planes = [frame(t, seq=2 * t + z, side_px=side, index=Index(t=t, z=z)) for (t, z), side in sides.items()]
    hand = Hand(tmp_path, ChainSettings(z="max", planes=2), Blind(), planes)
    hand.run()
    assert hand.decided() == [(0, 0), (2, 1)]
    assert hand.losses() == [("gather", "planes_differ", 1, 1)]


def broken() -> Any:
    raise StageError("no frame can be made of this")


def test_a_fault_of_the_receiving_thread_ends_the_run_and_leaves_it_to_be_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blind = Blind()
    monkeypatch.setattr(blind, "finish", lambda: pytest.fail("an analysis that comes after goes on with open events"))
    hand = Hand(tmp_path, ChainSettings(), blind, [frame(0), frame(1), broken, frame(2)])
    with pytest.raises(StageError, match="no frame can be made of this"):
        hand.run()
    assert hand.decided() == [(0, 0), (1, 0)]
    assert "frames can no longer be taken" in caplog.text
