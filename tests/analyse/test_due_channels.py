"""Channels that a protocol takes every n-th time point only: nobody waits for them between, and nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

from stream.analyse.gather import Gather
from stream.analyse.schedule import schedule_of
from stream.config import CameraSettings, ChainSettings, Configuration, PlanSettings
from stream.frame import Index
from tests.cases.hand_analysis import frame

BOTH = ChainSettings(segment_channel="Phase", measure_channels=("Phase", "FITC"))
NOW_AND_THEN = ({"config": "Phase"}, {"config": "FITC", "acquire_every": 3})


def configured(driver: str = "virtual", **protocol: Any) -> Configuration:
    times = {"time_plan": {"interval": 1, "loops": 20}}
    plan = PlanSettings.model_validate({"protocol": {"axis_order": "tpgcz", **times, **protocol}})
    return Configuration(camera=CameraSettings(driver=driver), plan=plan)


class Bench:
    """A gathering that is shown what a microscope takes."""

    def __init__(self, config: Configuration, settings: ChainSettings = BOTH) -> None:
        self.lost: list[tuple[str, int]] = []
        self.arrived: list[tuple[int, str, int, list[str], int]] = []
        """Time point and channel that arrived; and frame, channels and missed of each moment that came of it."""
        self._gather = Gather(
            settings, lambda why, ref: self.lost.append((why, ref.frame)), schedule=schedule_of(config)
        )

    def take(self, t: int, *channels: str, position: int = 0) -> None:
        for c, channel in enumerate(channels):
            index, field = Index(t=t, p=position, c=c), f"c:p{position}"
            for m in self._gather.add(frame(t, index=index, channel=channel, field=field)):
                taken = [name for name, pixels in m.channels.items() if pixels is not None]
                self.arrived.append((t, channel, m.frame.frame, taken, m.missed))


def test_a_measured_channel_is_waited_for_where_it_is_planned() -> None:
    bench = Bench(configured(channels=NOW_AND_THEN))
    for t in range(5):
        bench.take(t, "Phase", *(("FITC",) if t % 3 == 0 else ()))
    assert bench.arrived == [
        (0, "FITC", 0, ["Phase", "FITC"], 0), (1, "Phase", 1, ["Phase"], 0), (2, "Phase", 2, ["Phase"], 0),
        (3, "FITC", 3, ["Phase", "FITC"], 0), (4, "Phase", 4, ["Phase"], 0),
    ]  # fmt: skip
    assert bench.lost == []


def test_a_segmented_channel_is_missed_only_where_it_is_planned() -> None:
    settings = BOTH.model_copy(update={"segment_channel": "FITC"})
    bench = Bench(configured(channels=NOW_AND_THEN), settings)
    for t in range(13):
        bench.take(t, "Phase", *(("FITC",) if t % 3 == 0 and t != 6 else ()))
    assert [(number, missed) for _, _, number, _, missed in bench.arrived] == [(0, 0), (3, 0), (9, 1), (12, 0)]
    assert bench.lost == [("no_segment_channel", 6)]


def test_a_channel_that_comes_unplanned_is_taken() -> None:
    """Somebody edited the plan while it ran."""
    settings = BOTH.model_copy(update={"segment_channel": "FITC", "measure_channels": ("FITC",)})
    bench = Bench(configured(channels=NOW_AND_THEN), settings)
    for t in range(4):
        bench.take(t, "Phase", "FITC")
    assert [(number, missed) for _, _, number, _, missed in bench.arrived] == [(0, 0), (1, 0), (2, 0), (3, 0)]


def test_a_position_with_channels_of_its_own_is_waited_for_as_if_nothing_were_known() -> None:
    own = {"channels": ["Phase", "FITC"]}
    bench = Bench(configured(channels=NOW_AND_THEN, stage_positions=[{"x": 0, "y": 0, "sequence": own}, (1, 1, 1)]))
    for t in range(2):
        for position in (0, 1, 2):  # the last one was added by a command: it has the protocol's channels
            bench.take(t, "Phase", position=position)
    assert [(t, number) for t, _, number, _, _ in bench.arrived] == [(1, 0), (1, 0), (1, 1), (1, 0), (1, 1)]


UNKNOWN = {
    "no protocol": Configuration(),
    "every channel every time": configured(channels=["Phase", "FITC"]),
    "a recording": configured("replay", channels=NOW_AND_THEN),
}


@pytest.mark.parametrize("config", UNKNOWN.values(), ids=UNKNOWN)
def test_where_nothing_is_left_out_every_channel_is_waited_for(config: Configuration) -> None:
    bench = Bench(config)
    for t in range(3):
        bench.take(t, "Phase")
    assert [(t, number) for t, _, number, _, _ in bench.arrived] == [(1, 0), (2, 1)]
