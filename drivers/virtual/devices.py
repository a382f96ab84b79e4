"""Stages, shutter, light and filters for Micro-Manager's Python core, wired to one bench."""

from __future__ import annotations

from collections.abc import Sequence

from pymmcore_plus.experimental.unicore import GenericDevice, ShutterDevice, StageDevice, StateDevice, XYStageDevice

from drivers.virtual.bench import Bench
from drivers.virtual.microscope import Microscope
from stream.errors import Refused

STAGE_LIMIT_UM = 10_000.0
FOCUS_LIMIT_UM = 500.0
KEEPS_ORIGIN = "the virtual stage keeps its origin, which is the specimen's centre; move it instead"


class VirtualXYStage(XYStageDevice):
    """Moves at once and to where it was told, unless the night has other plans."""

    def __init__(self, bench: Bench, microscope: Microscope) -> None:
        super().__init__()
        self._bench = bench
        self._microscope = microscope

    def busy(self) -> bool:
        """Whether it is on its way."""
        return self._bench.moving

    def set_position_um(self, x: float, y: float) -> None:
        """Move. Raises ValueError beyond the travel."""
        _check_travel("XY", STAGE_LIMIT_UM, x, y)
        night, clock_s, at_um = self._microscope.night, self._microscope.clock_s, self.get_position_um()
        x, y = night.moves((x, y), at_um, clock_s)
        self._bench.move(x_um=x, y_um=y, takes_ms=night.takes_ms(clock_s))
        night.moved((x - at_um[0], y - at_um[1]), clock_s)
        self.core.events.XYStagePositionChanged.emit(self.get_label(), x, y)

    def get_position_um(self) -> tuple[float, float]:
        """(x, y)."""
        x, y, _ = self._bench.settings.stage_um
        return x, y

    def home(self) -> None:
        """Go to (0, 0)."""
        self.set_position_um(0.0, 0.0)

    def stop(self) -> None:
        """It stands already."""

    def set_origin_x(self) -> None:
        """Refuse: truth is told in the coordinates of the specimen."""
        raise Refused(KEEPS_ORIGIN)

    def set_origin_y(self) -> None:
        """Refuse: truth is told in the coordinates of the specimen."""
        raise Refused(KEEPS_ORIGIN)


class VirtualFocus(StageDevice):
    """The cells are sharp at 0."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench

    def set_position_um(self, val: float) -> None:
        """Move. Raises ValueError beyond the travel."""
        _check_travel("focus", FOCUS_LIMIT_UM, val)
        self._bench.move(z_um=val)
        self.core.events.stagePositionChanged.emit(self.get_label(), val)

    def get_position_um(self) -> float:
        """Return z."""
        return self._bench.settings.stage_um[2]

    def home(self) -> None:
        """Go to 0."""
        self.set_position_um(0.0)

    def stop(self) -> None:
        """It stands already."""

    def set_origin(self) -> None:
        """Refuse: truth is told in the coordinates of the specimen."""
        raise Refused(KEEPS_ORIGIN)


class VirtualShutter(ShutterDevice):
    """Open or closed; with auto-shutter every frame is lit."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench

    def get_open(self) -> bool:
        """Whether it is open."""
        return self._bench.is_open

    def set_open(self, open: bool) -> None:
        """Open or close."""
        self._bench.shutter(bool(open))


class VirtualLight(GenericDevice):
    """A lamp with the property ``Power``, 0 to 1."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self.register_property(
            "Power",
            property_type=float,
            limits=(0.0, 1.0),
            getter=VirtualLight.get_power,
            setter=VirtualLight.set_power,
        )

    def get_power(self) -> float:
        """Fraction of full power."""
        return self._bench.settings.power

    def set_power(self, value: float) -> None:
        """Set the fraction of full power."""
        self._bench.change(power=float(value))


class VirtualFilter(StateDevice):
    """One place for each channel."""

    def __init__(self, bench: Bench, channels: Sequence[str]) -> None:
        super().__init__(dict(enumerate(channels)))
        self._bench = bench
        self._channels = tuple(channels)

    def get_state(self) -> int:
        """Number of the channel."""
        return self._channels.index(self._bench.settings.channel)

    def set_state(self, position: int) -> None:
        """Turn to a channel."""
        self._bench.change(channel=self._channels[int(position)])


def _check_travel(what: str, limit_um: float, *positions_um: float) -> None:
    if any(abs(position) > limit_um for position in positions_um):
        raise ValueError(f"{what} {positions_um} µm is beyond the travel of {limit_um:g} µm")
