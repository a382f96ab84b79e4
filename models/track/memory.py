"""What the tracker remembers of each track: one structured array, so that its bytes are its state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from models.divide.evidence import DEPTH
from models.track.runs import Runs
from stream.errors import StageError
from stream.frame import Frame

ROW = np.dtype(
    [
        ("id", "i8"),
        ("parent", "i8"),
        ("born", "i8"),
        ("last", "i8"),
        ("seen", "i8"),  # frames in which it was seen
        ("missed", "i8"),  # frames looked at in vain since
        ("host", "i8"),  # track whose cell hides this one; 0: none
        ("cut", "i8"),  # frames in a row for which its cell was cut from a larger one
        ("label", "i4"),
        ("state", "i1"),
        ("sure", "?"),  # began by a division that is hardly in doubt
        ("edge", "?"),  # its cell touched the border
        ("inside", "?"),  # its cell or its mother's has reached into the image; what follows stands on eight bytes
        ("position", "f8", (2,)),  # stage µm (x, y)
        ("velocity", "f8", (2,)),  # µm per frame
        ("offset", "f8", (2,)),  # µm from its host
        # the past, newest first
        ("places", "f8", (DEPTH, 2)),
        ("area", "f8", (DEPTH,)),  # µm²
        ("brightness", "f8", (DEPTH,)),
        ("roundness", "f8", (DEPTH,)),
        ("newborn", "f8", (DEPTH,)),  # probabilities, NaN unknown
        ("dividing", "f8", (DEPTH,)),
    ]
)
Rows = NDArray[Any]
SCHEMA = 4


@dataclass(slots=True)
class View:
    """Where a frame's pixels lay on the stage, without the pixels."""

    affine_um: NDArray[np.float64]
    origin_um: NDArray[np.float64]
    shape: tuple[int, int]
    inverse_px: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.inverse_px = np.asarray(np.linalg.inv(self.affine_um), np.float64)

    @classmethod
    def of(cls, frame: Frame) -> View:
        height, width = frame.pixels.shape
        return cls(np.asarray(frame.affine_um, np.float64), frame.to_stage_um(np.zeros((1, 2)))[0], (height, width))

    def to_stage_um(self, points_px: NDArray[Any]) -> NDArray[np.float64]:
        """Convert image points ``(n, 2)`` as ``(y, x)`` to stage ``(n, 2)`` as ``(x, y)`` in µm."""
        stage: NDArray[np.float64] = points_px[:, ::-1] @ self.affine_um.T + self.origin_um
        return stage

    def to_image_px(self, points_um: NDArray[Any]) -> NDArray[np.float64]:
        """Convert stage points ``(n, 2)`` as ``(x, y)`` in µm to image ``(n, 2)`` as ``(y, x)``."""
        xy = (points_um - self.origin_um) @ self.inverse_px.T
        return np.ascontiguousarray(xy[:, ::-1])


@dataclass(slots=True)
class Memory:
    """The whole state of a tracker."""

    next_id: int
    frame: int | None = None
    elapsed_s: float = 0.0
    typical_um2: float | None = None
    scatter: float = 0.15
    """Median distance between where cells were expected and found, in diameters of the typical cell."""
    voted_scatter: float = 0.1
    """The same between where they were and where they say that they were."""
    drift_um: tuple[float, float] = (0.0, 0.0)
    """The field's smoothed drift ``(x, y)`` per frame, jumps left out."""
    rows: Rows = field(default_factory=lambda: np.zeros(0, ROW))
    view: View | None = None
    runs: Runs | None = None
    """Of the label image that went out, by track."""

    def save(self) -> bytes:
        """Return the state as bytes."""
        view, runs = self.view, self.runs
        packed: bytes = msgpack.packb(
            {
                "schema": SCHEMA,
                "next_id": self.next_id,
                "frame": self.frame,
                "elapsed_s": self.elapsed_s,
                "typical_um2": self.typical_um2,
                "scatter": self.scatter,
                "voted_scatter": self.voted_scatter,
                "drift_um": self.drift_um,
                "rows": self.rows.tobytes(),
                "view": None if view is None else [view.affine_um.tobytes(), view.origin_um.tobytes(), *view.shape],
                "runs": None if runs is None else runs.packed(),
            }
        )
        return packed

    @classmethod
    def load(cls, state: bytes) -> Memory:
        """Take up what :meth:`save` returned. Raises StageError."""
        try:
            said = msgpack.unpackb(state)
            if said["schema"] != SCHEMA:
                raise StageError(f"tracker state has schema {said['schema']}, this program reads {SCHEMA}")
            memory = cls(said["next_id"], said["frame"], said["elapsed_s"], said["typical_um2"])
            memory.scatter, memory.voted_scatter = said["scatter"], said["voted_scatter"]
            memory.drift_um = (said["drift_um"][0], said["drift_um"][1])
            memory.rows = np.frombuffer(said["rows"], ROW).copy()
            if said["view"] is not None:
                affine, origin, height, width = said["view"]
                memory.view = View(np.frombuffer(affine).reshape(2, 2), np.frombuffer(origin), (height, width))
                memory.runs = None if said["runs"] is None else Runs.unpacked(said["runs"])
        except (ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
            raise StageError(f"not a tracker's state: {error}") from error
        return memory
