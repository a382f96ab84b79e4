"""What the rig goes back to when the analysis is gone: the plan, or what an operator set, where feedback changed it."""

from __future__ import annotations

from collections.abc import Callable

from stream.command import (
    Action,
    MoveStage,
    Recentre,
    Resume,
    SetBinning,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
)
from stream.config import PlanSettings
from stream.frame import Frame


class BasePlan:
    """Remembers how the rig stood at its first frame and which kinds of settings were changed since."""

    def __init__(self, plan: PlanSettings) -> None:
        self._plan = plan
        self._first: Frame | None = None
        self._changed: set[str] = set()
        self._ordered: dict[str, Action] = {}

    def took(self, frame: Frame) -> None:
        """Remember the first frame of the run."""
        self._first = self._first or frame

    def changed(self, action: Action) -> None:
        """Note that feedback changed something."""
        self._changed.add(_kind(action))

    def ordered(self, action: Action) -> None:
        """Note that an operator changed something: from now on that is the plan."""
        self._ordered[_kind(action)] = action
        self._changed.discard(_kind(action))

    def way_back(self) -> list[Action]:
        """Return the actions that undo what was changed, the light first."""
        plan, first = self._plan, self._first
        ways: dict[str, Callable[[], Action | None]] = {
            "set_light": lambda: SetLight(power=plan.light_power, on=True),
            "set_exposure": lambda: SetExposure(exposure_ms=plan.exposure_ms),
            "set_interval": lambda: SetInterval(interval_ms=plan.interval_ms),
            "set_channel": lambda: SetChannel(channel=first.channel) if first and first.channel else None,
            "set_binning": lambda: SetBinning(binning=first.binning) if first else None,
            "set_roi": lambda: SetRoi(roi_px=None if _is_full(first) else first.roi_px) if first else None,
            "move_stage": lambda: (
                MoveStage(x_um=first.stage_um[0], y_um=first.stage_um[1], z_um=first.stage_um[2]) if first else None
            ),
            "pause": Resume,
        }
        actions = [self._ordered.get(kind) or way() for kind, way in ways.items() if kind in self._changed]
        return [action for action in actions if action is not None]

    def restored(self, action: Action) -> None:
        """Note that one of the actions of the way back was applied."""
        self._changed.discard("pause" if isinstance(action, Resume) else _kind(action))


def _kind(action: Action) -> str:
    return "move_stage" if isinstance(action, Recentre) else action.kind


def _is_full(frame: Frame | None) -> bool:
    return frame is None or frame.roi_px == (0, 0, *frame.sensor_px)
