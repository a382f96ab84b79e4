"""Hardware autofocus through the engine, which keeps what it found as a correction of each position's focus."""

from __future__ import annotations

from pymmcore_plus import CMMCorePlus

from drivers.micromanager.calls import device_calls


class Autofocus:
    """The current autofocus device, if there is one."""

    def __init__(self, core: CMMCorePlus) -> None:
        self._core = core
        with device_calls("autofocus device"):
            self.label = str(core.getAutoFocusDevice())

    def correction_um(self, position: int) -> float:
        """Return by how much the engine moves the focus of a position away from what is asked."""
        corrections = getattr(self._core.mda.engine, "_z_correction", None)
        return float(corrections.get(position, 0.0)) if corrections else 0.0

    @property
    def succeeded(self) -> bool:
        """Whether the last autofocus did what it should: the engine only logs one that failed."""
        return bool(getattr(self._core.mda.engine, "_af_succeeded", True))
