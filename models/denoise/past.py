"""What the network denoiser remembers of a field: its noise and the last two frames."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgpack
import numpy as np
from numpy.typing import NDArray

from models.denoise.memory import Scene
from models.denoise.noise import Noise
from models.denoise.spec import FRAMES
from stream.errors import StageError

SCHEMA = 1
KIND = "network"


@dataclass(slots=True, eq=False)
class Past:
    """The whole state of a network denoiser.

    ``frames`` are up to ``FRAMES - 1`` past frames ``(y, x)``, stabilised and padded, the newest first; ``level`` is
    the standard deviation of their noise.
    """

    scene: Scene
    noise: Noise
    frames: list[NDArray[np.float32]] = field(default_factory=list)
    level: float = 1.0

    def add(self, stabilised: NDArray[np.float32]) -> None:
        """Remember one more frame and forget the oldest."""
        self.frames = [stabilised, *self.frames][: FRAMES - 1]

    def save(self) -> bytes:
        """Return the state as bytes."""
        packed: bytes = msgpack.packb(
            {
                "schema": SCHEMA,
                "kind": KIND,
                "scene": [getattr(self.scene, name) for name in Scene.__slots__],
                "noise": [self.noise.gain, self.noise.zero, self.noise.sigma],
                "level": self.level,
                "shape": self.frames[0].shape,
                "frames": [frame.tobytes() for frame in self.frames],
            }
        )
        return packed

    @classmethod
    def load(cls, state: bytes) -> Past:
        """Take up what :meth:`save` returned. Raises StageError."""
        try:
            said = msgpack.unpackb(state, use_list=False)
            if said["schema"] != SCHEMA or said["kind"] != KIND:
                raise ValueError("another schema or denoiser")
            frames = [np.frombuffer(one, np.float32).reshape(said["shape"]).copy() for one in said["frames"]]
            past = cls(Scene(*said["scene"]), Noise(*map(float, said["noise"])), frames, float(said["level"]))
        except (ValueError, KeyError, TypeError, IndexError, msgpack.UnpackException) as error:
            raise StageError(f"not a network denoiser's state: {error}; start without it") from error
        if not past._possible():
            raise StageError("a saved network denoiser holds values that cannot be; start without it")
        return past

    def _possible(self) -> bool:
        numbers = [self.noise.gain, self.noise.zero, self.noise.sigma, self.level]
        scaled = (self.noise.gain > 0 or self.noise.sigma > 0) and self.level > 0
        width, height = self.scene.roi_px[2:]
        fits = all(
            one.ndim == 2 and one.shape[0] >= height and one.shape[1] >= width and bool(np.isfinite(one).all())
            for one in self.frames
        )
        return bool(np.isfinite(numbers).all() and scaled and fits and 1 <= len(self.frames) < FRAMES)
