"""From a command to calls of devices, and back to what was read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from drivers.micromanager.mode import Mode, Planned
from drivers.micromanager.rig import Rig
from drivers.micromanager.stimulate import Places, stimulate
from stream import command as c
from stream.errors import DriverError, Refused

Values = Mapping[str, Any]

_STREAM = "a stream takes nothing beside itself; use [plan] mode = 'mda' or a protocol"
NO_FRAME = (c.Pause, c.Stop, c.Cancel)
"""After these no frame need follow that could name the command."""


class Commands:
    """Applies commands in one mode; called by the core's owner between frames."""

    def __init__(self, rig: Rig, mode: Mode, camera: str, places: Places) -> None:
        self._rig = rig
        self._mode = mode
        self._camera = camera
        self._places = places
        self._appliers: dict[type, Callable[[Any, c.Command], Values]] = {
            c.SetExposure: self._expose,
            c.SetInterval: self._pace,
            c.SetRoi: self._roi,
            c.SetBinning: self._bin,
            c.SetPixelType: self._pixel_type,
            c.MoveStage: self._move,
            c.Recentre: self._recentre,
            c.SetChannel: self._channel,
            c.SetLight: self._light,
            c.AddPosition: self._add_position,
            c.DropPosition: self._drop_position,
            c.Acquire: self._acquire,
            c.Cancel: self._cancel,
            c.Stimulate: self._stimulate,
            c.Pause: self._pause,
            c.Resume: self._resume,
            c.Stop: self._stop,
        }

    def apply(self, command: c.Command) -> Values:
        """Apply, and return what was read back.

        Raises
        ------
        Refused
            This rig, or this mode, cannot do it; nothing was changed.
        DriverError
            The hardware failed or answered something else than was asked.
        """
        if command.target.camera not in (None, self._camera):
            raise Refused(f"the command is for camera '{command.target.camera}'; this is '{self._camera}'")
        try:
            return self._appliers[type(command.action)](command.action, command)
        except Refused:
            raise
        except DriverError:
            self._mode.resync()
            raise

    def _expose(self, action: c.SetExposure, command: c.Command) -> Values:
        self._mode.require_exposure(command.target)
        actual = self._rig.camera.expose(action.exposure_ms)
        self._mode.expose(actual, command.target, command.command_id)
        return {"exposure_ms": actual}

    def _pace(self, action: c.SetInterval, command: c.Command) -> Values:
        actual = self._mode.set_interval(action.interval_ms, command.target)
        self._mode.applied(command.command_id, command.target.position)
        return {"interval_ms": actual}

    def _roi(self, action: c.SetRoi, command: c.Command) -> Values:
        camera = self._rig.camera
        if action.roi_px is not None:
            camera.geometry().check(action.roi_px)
        return {"roi_px": self._mode.restart(lambda: camera.set_roi(action.roi_px), command.command_id)}

    def _bin(self, action: c.SetBinning, command: c.Command) -> Values:
        camera = self._rig.camera
        camera.require("Binning", action.binning)
        return {"binning": self._mode.restart(lambda: camera.set_binning(action.binning), command.command_id)}

    def _pixel_type(self, action: c.SetPixelType, command: c.Command) -> Values:
        camera = self._rig.camera
        camera.require("PixelType", action.pixel_type)
        actual = self._mode.restart(lambda: camera.set_pixel_type(action.pixel_type), command.command_id)
        return {"pixel_type": actual}

    def _move(self, action: c.MoveStage, command: c.Command) -> Values:
        return self._move_to(command, action.x_um, action.y_um, action.z_um)

    def _recentre(self, action: c.Recentre, command: c.Command) -> Values:
        x_um, y_um = self._rig.camera.geometry().stage_for(action.target_um)
        return self._move_to(command, x_um, y_um, None)

    def _move_to(self, command: c.Command, x_um: float | None, y_um: float | None, z_um: float | None) -> Values:
        stage, mode = self._rig.stage, self._mode
        stage.require(x_um, y_um, z_um)
        position, base_um = mode.position(command.target)
        if base_um is not None:
            x_um = base_um[0] if x_um is None else x_um
            y_um = base_um[1] if y_um is None else y_um
            z_um = base_um[2] if z_um is None and stage.z_label else z_um
            mode.require_move(position, (x_um, y_um, base_um[2] if z_um is None else z_um))
        mode.moving()
        try:
            actual = stage.move(x_um, y_um, z_um)
        except BaseException:
            mode.moved(None, stage.read_um())
            raise
        mode.moved(position, actual)
        mode.applied(command.command_id, position)
        return {"stage_um": actual}

    def _channel(self, action: c.SetChannel, command: c.Command) -> Values:
        return {"channel": self._mode.select_channel(action.channel, command.command_id)}

    def _light(self, action: c.SetLight, command: c.Command) -> Values:
        if action.power is None and action.on is None:
            raise Refused("set_light says neither a power nor on or off")
        values: dict[str, Any] = {}
        if action.power is not None:
            values["power"] = self._rig.light.set_power(action.power)
        if action.on is not None:
            values["on"] = self._mode.switch_light(action.on)
        self._mode.applied(command.command_id)
        return values

    def _add_position(self, action: c.AddPosition, command: c.Command) -> Values:
        self._rig.stage.require(action.x_um, action.y_um, action.z_um)
        number, place_um = self._planned().add_position((action.x_um, action.y_um, action.z_um), command)
        return {"position": number, "position_um": place_um}

    def _drop_position(self, action: c.DropPosition, command: c.Command) -> Values:
        return {"position": self._planned().drop_position(action.at_once, command)}

    def _acquire(self, action: c.Acquire, command: c.Command) -> Values:
        return self._planned().acquire(command)

    def _cancel(self, action: c.Cancel, command: c.Command) -> Values:
        return {"cancelled": self._planned().cancel(action.command_id)}

    def _planned(self) -> Planned:
        if isinstance(self._mode, Planned):
            return self._mode
        raise Refused(_STREAM)

    def _stimulate(self, action: c.Stimulate, command: c.Command) -> Values:
        values = stimulate(self._rig, self._mode, self._places, action, command)
        self._mode.applied(command.command_id)
        return values

    def _pause(self, action: c.Pause, command: c.Command) -> Values:
        self._mode.pause()
        return {"paused": True, "dark": self._rig.light.rest()}

    def _resume(self, action: c.Resume, command: c.Command) -> Values:
        self._rig.light.wake()
        self._mode.resume(command.command_id)
        return {"paused": False}

    def _stop(self, action: c.Stop, command: c.Command) -> Values:
        self._mode.finish("stopped by a command")
        return {"stopped": True}


def refusals(rig: Rig, mode: Mode | None = None) -> dict[str, str]:
    """Return the kinds of command that this rig never honours, or not in the mode that it runs in, and why."""
    lacking = {
        "set_binning": not rig.core.hasProperty(rig.camera.label, "Binning") and "the camera cannot bin",
        "set_pixel_type": not rig.core.hasProperty(rig.camera.label, "PixelType") and "the camera has one pixel type",
        "move_stage": not (rig.stage.xy_label or rig.stage.z_label) and "there is no stage",
        "recentre": not rig.stage.xy_label and "there is no XY stage",
        "set_channel": not rig.channels.names and "no channels are configured",
        "set_light": not rig.light.present and "there is neither a shutter nor a light_property",
        "stimulate": rig.modulator.lacking,
    }
    streams = mode is not None and not isinstance(mode, Planned)
    lacking |= dict.fromkeys(("add_position", "drop_position", "acquire", "cancel"), streams and _STREAM)
    return {kind: reason for kind, reason in lacking.items() if reason}
