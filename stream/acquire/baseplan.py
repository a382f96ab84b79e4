"""What the rig goes back to when the analysis is gone: the plan, or what an operator set, where feedback changed it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from stream.command import (
    Action,
    AddPosition,
    Cancel,
    Command,
    DropPosition,
    MoveStage,
    Recentre,
    Resume,
    SetBinning,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
    Target,
)
from stream.config import PlanSettings
from stream.frame import Frame, is_aside


class Way(NamedTuple):
    """One step of the way back."""

    action: Action
    target: Target = Target()


class _First(NamedTuple):
    """How the rig stood at a position's first frame; the frame itself, with its pixels, is not kept."""

    stage_um: tuple[float, float, float]
    roi_px: tuple[int, int, int, int]
    sensor_px: tuple[int, int]
    binning: int
    channel: str

    @classmethod
    def of(cls, frame: Frame) -> _First:
        return cls(frame.stage_um, frame.roi_px, frame.sensor_px, frame.binning, frame.channel)

    @property
    def is_full(self) -> bool:
        return self.roi_px == (0, 0, *self.sensor_px)


class _Key(NamedTuple):
    """What was changed: a setting of the rig, or of one position or channel of the plan."""

    kind: str
    position: int | None = None
    channel: str | None = None


class BasePlan:
    """Remembers how the rig stood at its first frames and which settings, positions and sequences were changed since.

    An operator's command becomes the plan. What feedback added is dropped, what it dropped is visited again where it
    was, and sequences that wait beside the plan are cancelled.
    """

    def __init__(self, plan: PlanSettings) -> None:
        self._plan = plan
        self._firsts: dict[int, _First] = {}
        self._focused: set[_Key] = set()
        self._changed: dict[_Key, None] = {}
        self._ordered: dict[_Key, Way] = {}

    def took(self, frame: Frame) -> None:
        """Remember the first frame of each position of the plan."""
        if frame.index.p not in self._firsts and not is_aside(frame.field):
            self._firsts[frame.index.p] = _First.of(frame)

    def changed(self, command: Command, values: Mapping[str, Any] | None = None) -> None:
        """Note that feedback changed something; ``values`` is what was read back."""
        action = command.action
        for key in self._keys(command, values or {}):
            opposite = _OPPOSITE.get(key.kind)
            if opposite and self._changed.pop(_Key(opposite, key.position), _ABSENT) is None:
                continue  # it is as it was
            self._changed[key] = None
            if isinstance(action, MoveStage) and action.z_um is not None:
                self._focused.add(key)

    def ordered(self, command: Command, values: Mapping[str, Any] | None = None) -> None:
        """Note that an operator changed something: from now on that is the plan."""
        for key in self._keys(command, values or {}):
            for known in [known for known in self._changed if _covers(key, known)]:
                del self._changed[known]
            self._changed.pop(_Key(_OPPOSITE.get(key.kind, ""), key.position), None)
            if key.kind not in ("add_position", "drop_position", "acquire", "pause"):
                self._ordered[key] = Way(command.action, command.target)

    def way_back(self) -> list[Way]:
        """Return what undoes what was changed."""
        found = (self._ordered.get(key) or self._way(key) for key in self._changed)
        return sorted((way for way in found if way is not None), key=lambda way: _FIRST.index(way.action.kind))

    def restored(self, command: Command) -> None:
        """Note that one of the actions of the way back was applied."""
        kind, position = command.action.kind, command.target.position
        undone = {"resume": "pause", "cancel": "acquire"}.get(kind) or _OPPOSITE.get(kind)
        if undone is not None:
            self._changed.pop(_Key(undone, position), None)
        for key in self._keys(command, {}):
            self._changed.pop(key, None)

    def _keys(self, command: Command, values: Mapping[str, Any]) -> list[_Key]:
        action, target = command.action, command.target
        if isinstance(action, AddPosition | DropPosition):
            return [_Key(action.kind, values.get("position", target.position))]
        if isinstance(action, MoveStage | Recentre):
            return [_Key("move_stage", target.position)]
        if isinstance(action, SetInterval):
            return [_Key(action.kind, target.position)]
        if isinstance(action, SetExposure):
            exposures = self._exposures_ms()
            channels = [target.channel] if target.channel is not None or len(exposures) < 2 else list(exposures)
            return [_Key(action.kind, target.position, channel) for channel in channels]
        return [_Key(action.kind)]

    def _way(self, key: _Key) -> Way | None:
        plan = self._plan
        first = self._firsts.get(key.position or 0)
        target = Target(position=key.position, channel=key.channel)
        ways: dict[str, Callable[[], Action | None]] = {
            "set_light": lambda: SetLight(power=plan.light_power, on=True),
            "acquire": Cancel,
            "set_exposure": lambda: SetExposure(exposure_ms=self._exposures_ms().get(key.channel, plan.exposure_ms)),
            "set_interval": lambda: SetInterval(
                interval_ms=None if key.position is not None or plan.protocol is not None else plan.interval_ms
            ),
            "set_channel": lambda: SetChannel(channel=first.channel) if first and first.channel else None,
            "set_binning": lambda: SetBinning(binning=first.binning) if first else None,
            "set_roi": lambda: SetRoi(roi_px=None if first.is_full else first.roi_px) if first else None,
            "move_stage": lambda: self._move(key),
            "add_position": DropPosition,
            "drop_position": lambda: self._bring_back(key.position),
            "pause": Resume,
        }
        way = ways.get(key.kind)
        action = way() if way is not None else None
        return None if action is None else Way(action, target)

    def _exposures_ms(self) -> dict[str | None, float]:
        """Return the exposures of the channels where the protocol gives them one of their own."""
        channels = self._plan.protocol.channels if self._plan.protocol is not None else ()
        found: dict[str | None, float] = {
            channel.config: self._plan.exposure_ms if channel.exposure is None else float(channel.exposure)
            for channel in channels
        }
        return found if len(set(found.values())) > 1 else {}

    def _place_um(self, position: int | None) -> tuple[float, float, float] | None:
        """Return where the plan has a position, or where its first frame was taken."""
        planned, first = self._plan.positions_um, self._firsts.get(position or 0)
        if (position or 0) < len(planned):
            return planned[position or 0]
        return first.stage_um if first else None

    def _move(self, key: _Key) -> MoveStage | None:
        place_um = self._place_um(key.position)
        if place_um is None or _Key("add_position", key.position) in self._changed:
            return None
        # A first frame may be a plane of a stack: the focus goes back only where it was moved.
        return MoveStage(x_um=place_um[0], y_um=place_um[1], z_um=place_um[2] if key in self._focused else None)

    def _bring_back(self, position: int | None) -> AddPosition | None:
        moved = self._ordered.get(_Key("move_stage", position))
        place_um = self._place_um(position)
        if place_um is None:
            return None
        x_um, y_um, z_um = place_um
        if moved is not None and isinstance(moved.action, MoveStage):
            x_um = x_um if moved.action.x_um is None else moved.action.x_um
            y_um = y_um if moved.action.y_um is None else moved.action.y_um
        planned = (position or 0) < len(self._plan.positions_um)
        return AddPosition(x_um=x_um, y_um=y_um, z_um=z_um if planned else None)


_ABSENT = object()
_OPPOSITE = {"add_position": "drop_position", "drop_position": "add_position"}
_FIRST = (
    "cancel", "set_light", "set_exposure", "set_interval", "set_channel", "set_binning", "set_roi", "set_pixel_type",
    "drop_position", "add_position", "move_stage", "recentre", "stimulate", "pause", "resume", "stop", "acquire",
)  # fmt: skip
"""The order of the way back: nothing new before all that was asked is taken back, and no frame before all is set."""


def _covers(key: _Key, other: _Key) -> bool:
    """Whether an operator's word on ``key`` settles ``other`` too."""
    narrower = key.position == other.position or (key.kind == "set_exposure" and key.position is None)
    return key.kind == other.kind and narrower and key.channel in (None, other.channel)
