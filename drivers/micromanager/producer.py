"""Turns pixels into numbered frames and hands them over; used by one thread at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.micromanager.geometry import Geometry
from drivers.micromanager.outbox import Outbox
from drivers.micromanager.timeline import State
from stream.clock import HOST, wall_ns
from stream.errors import FrameError
from stream.frame import CameraSource, Frame, Gap, Index, Stamps, field_name
from stream.metrics import FRAMES_DECIMATED

FrameHook = Callable[[Frame], None]


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose frames these are."""

    run: str
    camera: str
    session: str


def no_hook(frame: Frame) -> None:
    """Do nothing with a frame."""


class Producer:
    """Numbers epochs and frames.

    Parameters
    ----------
    identity
        Run, camera and session.
    first_epoch
        Number of the first epoch; every call of :meth:`begin_epoch` takes the next.
    outbox
        Where frames and gaps go.
    on_frame
        Called with each frame before it is handed over.
    """

    def __init__(self, identity: Identity, first_epoch: int, outbox: Outbox, on_frame: FrameHook = no_hook) -> None:
        self._identity = identity
        self._outbox = outbox
        self._on_frame = on_frame
        self._epoch = first_epoch - 1
        self._seq = -1
        self.geometry = Geometry()

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return self._epoch

    def begin_epoch(self, geometry: Geometry) -> None:
        """Number the following frames anew; they lie as ``geometry`` says."""
        self._epoch += 1
        self._seq = -1
        self.geometry = geometry

    def has_room(self) -> bool:
        """Whether the next frame can be handed over."""
        return self._outbox.has_room()

    def deliver(
        self,
        pixels: NDArray[Any],
        index: Index,
        state: State,
        stamps: Stamps,
        commands: tuple[str, ...] = (),
        metadata: Mapping[str, Any] | None = None,
        aside: str = "",
    ) -> bool:
        """Hand over one frame, for which there is room; False: its pixels cannot be true and a gap stands for it.

        ``aside`` is the id of the command that asked for it beside the plan.
        """
        where, identity = self.geometry, self._identity
        try:
            frame = Frame(
                run=identity.run,
                camera=identity.camera,
                session=identity.session,
                epoch=self._epoch,
                seq=self._seq + 1,
                field=self.field(index.p, index.g, aside),
                frame=index.t,
                pixels=np.asarray(pixels),
                index=index,
                roi_px=where.roi_px,
                sensor_px=where.sensor_px,
                binning=where.binning,
                affine_um=where.affine_um,
                stage_um=state.stage_um,
                exposure_ms=state.exposure_ms,
                channel=state.channel,
                stamps=stamps,
                commands=commands,
                metadata=metadata or {},
            )
        except FrameError as error:
            self.gap(index.p, 1, "corrupt", str(error), tile=index.g, aside=aside)
            return False
        self._seq += 1
        self._on_frame(frame)
        self._outbox.put(frame)
        return True

    def leave_out(self) -> None:
        """Count a frame that the plan's own decimation leaves out."""
        FRAMES_DECIMATED.labels(self._identity.camera).inc()

    def field(self, position: int, tile: int = 0, aside: str = "") -> str:
        """Name a field of this camera."""
        return field_name(self._identity.camera, position, tile, aside)

    def gap(
        self, position: int, missing: int, reason: str, detail: str = "", *, tile: int = 0, aside: str = ""
    ) -> None:
        """Say that frames are missing, or that the stream is broken, before the next frame."""
        identity = self._identity
        field = self.field(position, tile, aside)
        self._outbox.put(Gap(identity.camera, field, identity.session, self._epoch, self._seq, missing, reason, detail))


def stamps(camera_ns: int, source: CameraSource, popped_ns: int) -> Stamps:
    """Return the stamps of a frame that was just popped."""
    return Stamps(t_camera_ns=camera_ns, camera_source=source, t_pop_ns=popped_ns, wall_ns=wall_ns(), host=HOST)
