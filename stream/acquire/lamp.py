"""How bright a frame was, as far as the rig can know: by what the light was asked and answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stream.command import Command, SetLight

Power = float | None
"""A fraction of the full power; None: nobody knows."""


def counted(power: Power) -> float:
    """Return what a power counts as: an unknown one is taken for full."""
    return 1.0 if power is None else power


def brighter(one: Power, other: Power) -> Power:
    """Return the brighter of two powers."""
    return None if one is None or other is None else max(one, other)


class Lamp:
    """The light's power and whether frames are lit. Not safe from several threads: its ledger is.

    A change holds from the first frame that names its command. Frames that were on their way while it was applied count
    as the brighter of both; after a change that failed half-way nobody knows how bright the light is.
    """

    def __init__(self, power: Power) -> None:
        self.set_power = power
        self.on = True
        self._asked: dict[str, SetLight | None] = {}
        self._fading: tuple[str, Power] | None = None

    @property
    def power(self) -> Power:
        """The power as it is set now, 0 where frames are not lit."""
        return self.set_power if self.on else 0.0

    @property
    def at_most(self) -> Power:
        """The power that the next frame may have had."""
        return brighter(self._fading[1], self.power) if self._fading else self.power

    def after(self, action: SetLight) -> Power:
        """Return the power that an action would bring."""
        on = self.on if action.on is None else action.on
        power = self.set_power if action.power is None else action.power
        return power if on else 0.0

    def asked(self, command: Command) -> None:
        """A command is about to be applied."""
        if isinstance(command.action, SetLight):
            self._asked[command.command_id] = command.action

    def refused(self, command: Command) -> None:
        """The hardware refused: nothing has changed."""
        self._asked.pop(command.command_id, None)

    def answered(self, command: Command, values: Mapping[str, Any] | None) -> None:
        """The hardware said what it did; None: it failed half-way."""
        if command.command_id not in self._asked:
            return
        shown, before = self._asked.pop(command.command_id) is None, self.at_most
        if values is None:
            self.on, self.set_power = True, None
            return
        self._set(values.get("power"), values.get("on"))
        if not shown:
            self._fading = (command.command_id, before)

    def shown(self, command_ids: Iterable[str]) -> None:
        """A frame names the commands whose effect it is the first to show; it may be faster than their answer."""
        for command_id in command_ids:
            if action := self._asked.get(command_id):
                self._set(action.power, action.on)
                self._asked[command_id] = None
            if self._fading and self._fading[0] == command_id:
                self._fading = None

    def _set(self, power: Power, on: bool | None) -> None:
        if power is not None:
            self.set_power = float(power)
        if on is not None:
            self.on = bool(on)
