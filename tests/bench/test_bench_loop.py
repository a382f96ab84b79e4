"""The benchmark of the loop: a real rig, real bare devices, and figures that follow from the answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.bench.loop import LoopPlan, loop
from stream.bench.mix import SLOW, draw
from stream.bench.times import Answer, row


def answer(kind: str = "move_stage", *, device: float = 10.0, bare: float = 8.0, **more: float) -> Answer:
    """A command that waited 2 ms for its frame and 1.5 ms for us."""
    times = {"boundary": 2.0, "device": device, "total": device + 3.5, "to_first_frame": device + 20.0}
    return Answer(kind, "applied", "", times | more, asked_ms=device + 25.0, bare_ms=bare)


def test_time_is_divided_between_the_boundary_the_devices_and_us() -> None:
    found = row([answer() for _ in range(30)], SLOW)
    assert found["commands"] == 30
    assert found["beside_device_ms"] == {"min": 1.5, "p50": 1.5, "p95": 1.5, "p99": 1.5}
    assert found["beside_asked_ms"]["p50"] == 6.5  # 5 ms more between the frame and the answer
    assert found["device_ratio"] == {"p50": 1.25, "of_kinds": 1.25, "of_sums": 1.25, "of": 30}
    assert found["kept"] == {"beside_p50_ms": True, "beside_p99_ms": True, "device_ratio": True}


@pytest.mark.parametrize(
    ("answers", "kept"),
    [
        ([answer(bare=7.0)] * 20, {"device_ratio": False}),
        ([answer(bare=7.0), answer("set_light", device=0.6, bare=0.1)] * 20, {"device_ratio": False}),
        ([answer(), answer("set_light", device=0.3, bare=0.1)] * 20, {"device_ratio": True}),
        ([answer(device=0.12, bare=0.1)] * 40 + [answer(device=9.0, bare=0.9)], {"device_ratio": True}),
        ([answer(device=0.3, bare=0.1)] * 20, {"device_ratio": False}),
        ([answer(total=16.5)] * 20, {"beside_p50_ms": False}),
        ([answer()] * 40 + [answer(total=90.0)], {"beside_p50_ms": True, "beside_p99_ms": False}),
        ([], {"beside_p50_ms": None, "device_ratio": None}),
    ],
)
def test_a_missed_target_is_said(answers: list[Answer], kept: dict[str, bool | None]) -> None:
    assert row(answers, SLOW)["kept"].items() >= kept.items()


def test_slow_kinds_and_refusals_stand_apart() -> None:
    no = Answer("set_channel", "refused", "no such channel", {}, 1.0)
    found = row([answer(), answer("set_roi", device=200.0), no], SLOW)
    assert found["commands"] == 1
    assert found["device_ms"]["p99"] == 10.0
    assert found["by_kind"]["set_roi"]["device_ms"]["p50"] == 200.0
    assert found["states"] == {"applied": 2, "refused": 1}
    assert found["refused"] == {"set_channel": "no such channel"}


def test_the_mix_is_drawn_by_its_seed() -> None:
    once = draw(80, 1, "mda", "democam")
    assert once == draw(80, 1, "mda", "democam")
    assert once != draw(80, 2, "mda", "democam")
    assert [action.kind for action in once[80:]] == ["set_roi", "set_roi"]


def test_a_real_loop_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command is applied and shown in a frame, and its calls take time on the bare core too."""
    monkeypatch.chdir(tmp_path)
    found = loop(LoopPlan(24, 3, ("mda",), ("democam",)), lambda line: None)["mda"]["democam"]
    assert found["states"] == {"applied": 25}, found["refused"]
    assert found["bare_device_ms"]["p50"] > 0
    for kind, times in found["by_kind"].items():
        assert kind == "set_interval" or times["device_ms"]["min"] > 0, kind
        assert times["total_ms"]["min"] >= times["device_ms"]["min"]
    assert found["to_first_frame_ms"]["min"] > 0
    assert found["asked_ms"]["min"] > found["total_ms"]["min"]
    assert not list(tmp_path.iterdir()), "the bench leaves nothing behind"
