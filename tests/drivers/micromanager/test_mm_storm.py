"""Whatever is asked of a running protocol, its frames stay in order, whole, and each names a command once."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from stream import command as c
from stream.config import PlanSettings
from stream.errors import Refused
from stream.frame import Ended, Frame, Gap, is_aside

COMMANDS = 80


def protocol(order: str) -> dict[str, Any]:
    return {
        "axis_order": order,
        "stage_positions": [
            [0, 0, 0],
            [20, 0, 1],
            {"x": 40, "y": 0, "z": 2, "sequence": {"z_plan": {"relative": [0, 1]}}},
        ],
        "channels": [{"config": "DAPI", "exposure": 2}, {"config": "FITC", "exposure": 3}],
        "time_plan": {"interval": 0.05, "loops": 100_000},
    }


def actions(chance: random.Random) -> list[Callable[[], c.Action]]:
    def acquire(sequence: dict[str, Any], **more: Any) -> c.Acquire:
        return c.Acquire.model_validate({"sequence": sequence} | more)

    x_um = chance.uniform(-50, 50)
    loops = chance.randint(1, 12)
    return [
        lambda: c.SetInterval(interval_ms=chance.choice([None, 0, 20, 100])),
        lambda: c.SetExposure(exposure_ms=chance.choice([1, 2, 4])),
        lambda: c.AddPosition(x_um=x_um, y_um=0),
        c.DropPosition,
        c.DropPosition,
        lambda: c.MoveStage(x_um=x_um),
        lambda: c.Recentre(target_um=(x_um, 3)),
        lambda: acquire({"time_plan": {"interval": 0, "loops": loops}}, sequenced=chance.random() < 0.6),
        lambda: acquire({"z_plan": {"range": 2, "step": 1}, "channels": ["Cy5"]}, at_um=(x_um, 1)),
        c.Cancel,
        c.Pause,
        c.Resume,
        c.Resume,
        lambda: c.SetRoi(roi_px=chance.choice([None, (0, 0, 128, 128)])),
        lambda: c.SetLight(on=chance.random() < 0.5),
    ]


@pytest.mark.parametrize(("order", "seed"), [("tpgcz", 1), ("tcpz", 2), ("ptcz", 3)])
def test_a_storm_of_commands_breaks_nothing(bench_of: Any, order: str, seed: int) -> None:
    chance, bench = random.Random(seed), bench_of(queue_frames=64)
    plan = {"protocol": protocol(order), "max_burst_ms": 60.0}
    bench.driver.start(PlanSettings.model_validate(plan))
    items: list[Any] = []

    def take() -> None:
        while not isinstance(item := bench.driver.next(20), Ended | None):
            items.append(item)

    taking = threading.Thread(target=take)
    taking.start()
    pending: dict[str, Callable[[], bool]] = {}
    taken_back: set[str] = set()
    for number in range(COMMANDS):
        target = c.Target(position=chance.choice([None, 0, 1, 2, 3]), channel=chance.choice([None, None, "FITC"]))
        cause = c.Cause(origin=chance.choice(["operator", "policy"]))
        action = chance.choice(actions(chance))()
        command = c.Command(command_id=f"k{number}", action=action, issued_wall_ns=0, cause=cause, target=target)
        try:
            readback = bench.driver.apply(command)
        except Refused:
            continue
        taken_back |= set(readback.ends)
        if readback.pending is not None:
            pending[command.command_id] = readback.pending
    bench.driver.apply(c.Command(command_id="last", action=c.Resume(), issued_wall_ns=0))
    never = threading.Event()
    while any(waits() for waits in pending.values()):
        never.wait(0.01)
        assert taking.is_alive()
    bench.driver.stop()
    taking.join(30)
    _are_whole(items)
    shown = Counter(name for item in items if isinstance(item, Frame) for name in item.commands)
    assert set(shown.values()) <= {1}
    assert set(pending) - taken_back <= set(shown)


def _are_whole(items: list[Any]) -> None:
    assert not [item for item in items if isinstance(item, Gap)]
    by_epoch, by_field = defaultdict(list), defaultdict(list)
    for frame in items:
        by_epoch[frame.epoch].append(frame.seq)
        by_field[frame.field].append(frame)
    assert len(by_field) > 3
    for numbers in by_epoch.values():
        assert numbers == list(range(len(numbers)))
    for name, frames in by_field.items():
        visits = [frame.frame for frame in frames]
        assert visits == sorted(visits)
        assert set(visits) == set(range(len(set(visits))))
        assert {bool(frame.metadata.get("command")) for frame in frames} == {is_aside(name)}
