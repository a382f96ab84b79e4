"""Lets go of a core so that the process can end."""

from __future__ import annotations

import logging

from pymmcore_plus import CMMCorePlus

from drivers.micromanager.calls import DEVICE_ERRORS

_log = logging.getLogger(__name__)


def unload(core: CMMCorePlus) -> None:
    """Unload the devices and end the core's callbacks; what fails is logged.

    The core delivers callbacks on a thread of its own. Left alone, it calls into an interpreter that is being torn
    down, and the process aborts ("FATAL: exception not rethrown") after all its work is done.
    """
    try:
        core.unloadAllDevices()
    except DEVICE_ERRORS:
        _log.exception("the devices did not unload")
    super(CMMCorePlus, core).registerCallback(None)
