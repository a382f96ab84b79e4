"""What the network's segmenter remembers of the frame before: its pixels, its levels, and where it lay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.normalise import Running
from stream.errors import StageError
from stream.frame import Affine, Frame

Pixels = NDArray[Any]
"""Of a frame: ``(y, x)``, uint8 or uint16."""
SAME_PX = 0.5
"""A view that moved by less is the same."""
LEAST_OVERLAP = 0.25
"""Of the new view, that the earlier frame must show."""


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """One frame of a field, as far as the next one needs it."""

    pixels: Pixels
    levels: Running
    origin_um: tuple[float, float]
    affine_um: Affine
    binning: int
    channel: str

    @classmethod
    def of(cls, frame: Frame, levels: Running) -> Past:
        """Remember a frame."""
        x, y = (float(v) for v in frame.to_stage_um(np.zeros((1, 2)))[0])
        return cls(frame.pixels, levels, (x, y), frame.affine_um, frame.binning, frame.channel)

    def same_light(self, frame: Frame) -> bool:
        """Say whether the levels of this frame say something about those of the next."""
        return self.channel == frame.channel and self.pixels.dtype == frame.pixels.dtype

    def moved_px(self, frame: Frame) -> tuple[float, float] | None:
        """Return how far (y, x) this frame's pixels lie from where the new frame has them; None: not comparable."""
        if (self.affine_um, self.binning, self.channel) != (frame.affine_um, frame.binning, frame.channel):
            return None
        moved = frame.to_image_px(np.array([self.origin_um]))[0]
        if np.abs(moved).max() < SAME_PX and self.pixels.shape == frame.pixels.shape:
            return 0.0, 0.0
        common = 1.0
        for shift, mine, new in zip(moved, self.pixels.shape, frame.pixels.shape, strict=True):
            common *= max(min(mine + shift, new) - max(shift, 0.0), 0.0) / new
        return (float(moved[0]), float(moved[1])) if common >= LEAST_OVERLAP else None

    def seen_from(self, moved_px: tuple[float, float], shape: tuple[int, int]) -> Pixels:
        """Return the pixels as a frame of ``shape`` would show them; where it sees more, the edge is continued."""
        if moved_px == (0.0, 0.0):
            return self.pixels
        matrix = np.array([[1.0, 0.0, moved_px[1]], [0.0, 1.0, moved_px[0]]])
        shown: Pixels = cv2.warpAffine(
            self.pixels, matrix, (shape[1], shape[0]), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return shown

    def packed(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "pixels": self.pixels.tobytes(), "dtype": self.pixels.dtype.name, "shape": self.pixels.shape,
            "levels": (self.levels.offset, self.levels.scale), "origin_um": self.origin_um,
            "affine_um": self.affine_um, "binning": self.binning, "channel": self.channel,
        }  # fmt: skip

    @classmethod
    def unpacked(cls, data: Any) -> Past:
        """Take up what :meth:`packed` returned. Raises StageError, KeyError, TypeError or ValueError."""
        if data["dtype"] not in ("uint8", "uint16"):
            raise StageError(f"a saved frame of {data['dtype']}")
        rows, columns = data["shape"]
        pixels = np.frombuffer(data["pixels"], data["dtype"]).reshape(rows, columns)
        (a, b), (c, d) = data["affine_um"]
        x, y = data["origin_um"]
        levels = Running(*(float(v) for v in data["levels"]))
        return cls(pixels, levels, (x, y), ((a, b), (c, d)), int(data["binning"]), str(data["channel"]))
