"""The driver: a Micro-Manager driver whose core holds virtual devices, and which writes down the truth."""

from __future__ import annotations

import logging
from collections.abc import Callable

from drivers.micromanager.driver import MicroManagerDriver
from drivers.virtual.core import VirtualCore
from drivers.virtual.microscope import Shot
from drivers.virtual.night import Effect
from drivers.virtual.options import VirtualOptions
from drivers.virtual.truth import Truth
from stream.config import CameraSettings
from stream.errors import ConfigError
from stream.frame import Frame

log = logging.getLogger(__name__)


class VirtualDriver(MicroManagerDriver[VirtualOptions]):
    """A rig to rehearse on: the same code as for real hardware, down to the core.

    With ``truth_dir`` in ``[camera.options]`` the exact truth of every delivered frame goes there.

    Examples
    --------
    >>> driver = VirtualDriver()
    >>> driver.open(CameraSettings(driver="virtual", options={"seed": 7}), run="r", session="s")  # doctest: +SKIP
    """

    def __init__(self) -> None:
        super().__init__(self._make, VirtualOptions, self._delivered)
        self._truth: Truth | None = None
        self._session = ""
        self._torn = False

    def open(self, settings: CameraSettings, *, run: str, session: str, first_epoch: int = 0) -> None:
        """Make the specimen and the devices; compiles on first use. Raises ConfigError, DriverError or StoreError."""
        self._session = session
        super().open(settings, run=run, session=session, first_epoch=first_epoch)

    def stop(self) -> None:
        """End the acquisition and complete the truth. Idempotent."""
        try:
            super().stop()
        finally:
            self._tell(Truth.close)
            self._truth = None

    def _make(self, options: VirtualOptions) -> VirtualCore:
        if options.cfg is not None:
            raise ConfigError(f"[camera.options] cfg {options.cfg}: the virtual microscope has its own devices")
        self._truth = Truth(options.truth_dir, self._session, options) if options.truth_dir is not None else None
        return VirtualCore(options, self._exposed, self._went_wrong)

    def _exposed(self, shot: Shot) -> None:
        self._tell(lambda truth: truth.exposed(shot))

    def _went_wrong(self, effect: Effect) -> None:
        self._tell(lambda truth: truth.went_wrong(effect))

    def _delivered(self, frame: Frame) -> None:
        self._tell(lambda truth: truth.delivered(frame))

    def _tell(self, tell: Callable[[Truth], None]) -> None:
        """Have something written into the truth; a disk that takes no more of it does not stop the camera."""
        truth = self._truth
        if truth is None:
            return
        try:
            tell(truth)
        except OSError as error:
            if not self._torn:
                log.error("the truth in %s is not complete: %s", truth.folder, error)
            self._torn = True
