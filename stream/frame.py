"""One camera image with everything that is known about it, and its identity without pixels."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stream.errors import FrameError

CameraSource = Literal["camera", "core", "none"]
Affine = tuple[tuple[float, float], tuple[float, float]]
T_RECORDED_MS = "t_recorded_ms"
"""Where a frame's metadata say when its recording took it."""
STAGE_MOVING = "stage_moving"
"""True in a frame's metadata where the stage moved under its exposure: it shows no place that is known."""
IDENTITY_UM: Affine = ((1.0, 0.0), (0.0, 1.0))


@dataclass(frozen=True, slots=True)
class FrameRef:
    """Which frame: its identity without pixels, unique in the world of one run."""

    run: str
    camera: str
    session: str
    epoch: int
    seq: int
    field: str
    frame: int


@dataclass(frozen=True, slots=True)
class Index:
    """Where a frame stands in a multi-dimensional acquisition: time, position, channel, plane, grid tile."""

    t: int = 0
    p: int = 0
    c: int = 0
    z: int = 0
    g: int = 0


@dataclass(frozen=True, slots=True)
class Stamps:
    """When a frame passed each point, in ns of the host's monotonic clock (0: not passed).

    ``t_camera_ns`` is when the image was complete as ``camera_source`` tells it: by the camera, by the core that
    received it (mapped to this host's clock), or not at all. None of these is the time of a photon.
    ``stages`` holds ``(name, begin_ns, end_ns)`` for every stage of the chain, in order.
    """

    t_camera_ns: int = 0
    camera_source: CameraSource = "none"
    t_pop_ns: int = 0
    t_publish_ns: int = 0
    t_receive_ns: int = 0
    wall_ns: int = 0
    host: str = ""
    stages: tuple[tuple[str, int, int], ...] = ()

    def with_stage(self, name: str, begin_ns: int, end_ns: int) -> Stamps:
        """Return these stamps with one more stage."""
        return replace(self, stages=(*self.stages, (name, begin_ns, end_ns)))


@dataclass(frozen=True, slots=True)
class FieldName:
    """What a field's name says; ``aside`` is the id of the command that asked for it beside the plan."""

    camera: str
    position: int
    tile: int = 0
    aside: str = ""


def field_name(camera: str, position: int, tile: int = 0, aside: str = "") -> str:
    """Name the field that a camera sees at a position of the plan.

    Each tile of a grid is a field of its own; the first one bears the position's name. Frames that a command asked for
    beside the plan (``aside``: its id) belong to no field of the plan: other planes, other places, other times.

    >>> field_name("Camera", 0), field_name("Camera", 2, tile=3), field_name("Camera", 1, aside="mitosis/7")
    ('Camera:p0', 'Camera:p2g3', 'Camera:p1/mitosis/7')
    """
    return f"{camera}:p{position}{f'g{tile}' if tile else ''}{f'/{aside}' if aside else ''}"


_FIELD = re.compile(r"(.*?):p(\d+)(?:g(\d+))?(?:/(.+))?", re.DOTALL)


def parse_field(name: str) -> FieldName | None:
    """Read a field's name; None for one that :func:`field_name` did not make.

    >>> parse_field("Camera:p2g3")
    FieldName(camera='Camera', position=2, tile=3, aside='')
    """
    found = _FIELD.fullmatch(name)
    if found is None:
        return None
    camera, position, tile, aside = found.groups()
    return FieldName(camera, int(position), int(tile or 0), aside or "")


def plan_field(name: str) -> str:
    """Return the field of the plan to which a field's cells belong: of frames taken beside the plan, their position's.

    >>> plan_field("Camera:p1/mitosis/7"), plan_field("Camera:p2g3")
    ('Camera:p1', 'Camera:p2g3')
    """
    field = parse_field(name)
    return name if field is None or not field.aside else field_name(field.camera, field.position)


def is_aside(name: str) -> bool:
    """Whether a field holds frames that a command asked for beside the plan; no chain follows those."""
    field = parse_field(name)
    return field is not None and bool(field.aside)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image, read-only.

    Parameters
    ----------
    run, camera, session, epoch, seq
        ``session`` is one start of a producer; ``epoch`` begins anew whenever the geometry or the sequence does and is
        never reused in a run; ``seq`` counts without gaps within an epoch.
    field, frame
        The field is a camera at a position; ``frame`` counts that field's time points, or is the number in the
        source's file name.
    pixels
        ``(y, x)``, uint8 or uint16, made read-only.
    roi_px
        ``(x, y, w, h)`` on the sensor after binning; ``w, h`` match the pixels.
    affine_um
        2x2, from image pixels ``(x, y)`` to stage micrometres.
    stage_um
        ``(x, y, z)`` as read back when the frame was taken; the centre of the full sensor looks at it.
    sensor_px
        ``(w, h)`` of the full sensor after binning: fixes where an ROI lies relative to the stage position.
    commands
        Ids of the commands whose effect this frame is the first to show.
    """

    run: str
    camera: str
    session: str
    epoch: int
    seq: int
    field: str
    frame: int
    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    index: Index = Index()
    roi_px: tuple[int, int, int, int] = (0, 0, 0, 0)
    sensor_px: tuple[int, int] = (0, 0)
    binning: int = 1
    affine_um: Affine = IDENTITY_UM
    stage_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    exposure_ms: float = 0.0
    channel: str = ""
    stamps: Stamps = Stamps()
    commands: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.ndim != 2 or 0 in pixels.shape:
            raise FrameError(f"a frame is (y, x), not {pixels.shape}; choose one plane or channel per frame")
        if pixels.dtype not in (np.uint8, np.uint16):
            raise FrameError(
                f"a frame is uint8 or uint16, not {pixels.dtype}; convert at the driver, where units are known"
            )
        height, width = pixels.shape
        if self.roi_px == (0, 0, 0, 0):
            object.__setattr__(self, "roi_px", (0, 0, width, height))
        if self.roi_px[2:] != (width, height):
            raise FrameError(f"roi_px {self.roi_px} does not match pixels of {width}x{height}")
        if self.sensor_px == (0, 0):
            object.__setattr__(self, "sensor_px", (self.roi_px[0] + width, self.roi_px[1] + height))
        pixels.flags.writeable = False

    @property
    def ref(self) -> FrameRef:
        """The frame's identity."""
        return FrameRef(self.run, self.camera, self.session, self.epoch, self.seq, self.field, self.frame)

    def to_stage_um(self, points_px: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Convert image points ``(n, 2)`` as ``(y, x)`` in pixels to stage ``(n, 2)`` as ``(x, y)`` in µm."""
        xy = np.asarray(points_px, np.float64)[:, ::-1] + self._origin_px()
        stage: NDArray[np.float64] = xy @ np.asarray(self.affine_um, np.float64).T + np.asarray(self.stage_um[:2])
        return stage

    def to_image_px(self, points_um: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Convert stage points ``(n, 2)`` as ``(x, y)`` in µm to image ``(n, 2)`` as ``(y, x)`` in pixels."""
        inverse = np.linalg.inv(np.asarray(self.affine_um, np.float64))
        xy = (np.asarray(points_um, np.float64) - np.asarray(self.stage_um[:2])) @ inverse.T
        return np.ascontiguousarray((xy - self._origin_px())[:, ::-1])

    @property
    def t_recorded_ms(self) -> float | None:
        """When the recording took it, in ms after the first time point that is played; None where it does not say.

        Only a recording has it: a frame that a camera takes now is dated by its stamps.
        """
        ms = self.metadata.get(T_RECORDED_MS)
        return float(ms) if isinstance(ms, int | float) and math.isfinite(ms) else None

    @property
    def pixel_um(self) -> float:
        """The side of a pixel in µm (the geometric mean of both axes)."""
        (a, b), (c, d) = self.affine_um
        return float(abs(a * d - b * c) ** 0.5)

    def _origin_px(self) -> NDArray[np.float64]:
        """The ROI's first pixel relative to the centre of the sensor, as ``(x, y)``."""
        return np.array([self.roi_px[0] - (self.sensor_px[0] - 1) / 2, self.roi_px[1] - (self.sensor_px[1] - 1) / 2])


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames that a producer knows it did not deliver, or a discontinuity of the stream.

    ``missing`` is how many frames are known to be lost (0: the stream was restarted and nobody knows); ``reason`` is a
    short word used as a metric label: ``overflow``, ``restart``, ``corrupt``, ``snap_failed``, …
    """

    camera: str
    field: str
    session: str
    epoch: int
    after_seq: int
    missing: int
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a stream, with the reason a person would read."""

    reason: str


class Stride:
    """By how much the numbers of a source's time points grow: by the smallest step that was seen so far.

    A microscope counts its time points; the files of a recording may be numbered by tens. What comes later changes
    nothing that was said before, so a movie that is cut short is the same until then. The price: where a recording's
    first step is a hole, nobody can know.

    Parameters
    ----------
    step
        The step so far; 0: none was seen.
    last
        The last number that was seen.
    """

    def __init__(self, step: int = 0, last: int | None = None) -> None:
        self.step, self._last = step, last

    def see(self, number: int) -> None:
        """Take in the next number; the same one again says nothing."""
        grown = 0 if self._last is None else number - self._last
        if grown > 0:
            self.step = min(grown, self.step or grown)
        self._last = number

    def between(self, earlier: int, later: int) -> int:
        """Return how many time points are missing between two.

        >>> stride = Stride()
        >>> for number in (0, 3, 6, 12):
        ...     stride.see(number)
        >>> stride.between(6, 12)
        1
        """
        return max(0, (later - earlier) // self.step - 1) if self.step else 0


def ref_dict(ref: FrameRef) -> dict[str, Any]:
    """Return the reference as plain data."""
    return asdict(ref)
