"""What the denoiser remembers of a field, and whether the next frame still shows the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from models.denoise.noise import Noise
from stream.errors import StageError
from stream.frame import Frame

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Scene:
    """What must stay the same for two frames to be averaged; the stage may move by half a pixel."""

    dtype: str
    roi_px: tuple[int, int, int, int]
    binning: int
    affine_um: tuple[float, float, float, float]
    exposure_ms: float
    channel: str
    stage_um: tuple[float, float, float]

    @classmethod
    def of(cls, frame: Frame) -> Scene:
        """Return the scene that a frame shows."""
        (a, b), (c, d) = frame.affine_um
        return cls(
            frame.pixels.dtype.name, frame.roi_px, frame.binning, (a, b, c, d), frame.exposure_ms, frame.channel,
            frame.stage_um,
        )  # fmt: skip

    def continues(self, new: Scene) -> bool:
        """Say whether a frame of the new scene may be averaged with one of this."""
        a, b, c, d = self.affine_um
        allowed_um = 0.5 * abs(a * d - b * c) ** 0.5
        moved_um = max(abs(one - other) for one, other in zip(self.stage_um, new.stage_um, strict=True))
        return moved_um <= allowed_um and self._fixed() == new._fixed()

    def same_sensor(self, new: Scene) -> bool:
        """Say whether the new scene is read from the sensor in the same way, so that its noise is the same."""
        return (self.dtype, self.binning, self.channel) == (new.dtype, new.binning, new.channel)

    def _fixed(self) -> tuple[Any, ...]:
        return (self.dtype, self.roi_px, self.binning, self.affine_um, self.exposure_ms, self.channel)


@dataclass(slots=True, eq=False)
class Memory:
    """The whole state of a denoiser.

    ``filtered`` and ``spread`` are ``(y, x)``, see :func:`models.denoise.kernel.advance`; ``seen`` counts frames since
    the start of this scene.
    """

    scene: Scene
    noise: Noise
    filtered: NDArray[np.float32]
    spread: NDArray[np.float32]
    level: float = 1.0
    seen: int = 1

    def save(self) -> bytes:
        """Return the state as bytes."""
        scene, noise = self.scene, self.noise
        packed: bytes = msgpack.packb(
            {
                "schema": SCHEMA,
                "scene": [getattr(scene, name) for name in Scene.__slots__],
                "noise": [noise.gain, noise.zero, noise.sigma],
                "level": self.level,
                "seen": self.seen,
                "shape": self.filtered.shape,
                "filtered": self.filtered.tobytes(),
                "spread": self.spread.tobytes(),
            }
        )
        return packed

    @classmethod
    def load(cls, state: bytes) -> Memory:
        """Take up what :meth:`save` returned. Raises StageError."""
        try:
            said = msgpack.unpackb(state, use_list=False)
            if said["schema"] != SCHEMA:
                raise StageError(f"denoiser state has schema {said['schema']}, this program reads {SCHEMA}")
            scene, noise, shape = Scene(*said["scene"]), Noise(*map(float, said["noise"])), said["shape"]
            filtered, spread = (
                np.frombuffer(said[name], np.float32).reshape(shape).copy() for name in ("filtered", "spread")
            )
            memory = cls(scene, noise, filtered, spread, float(said["level"]), int(said["seen"]))
        except (ValueError, KeyError, TypeError, IndexError, msgpack.UnpackException) as error:
            raise StageError(f"not a denoiser's state: {error}; start without it") from error
        if len(shape) != 2 or shape != scene.roi_px[:1:-1] or not memory._possible():
            raise StageError(f"a saved denoiser of shape {shape} holds values that cannot be; start without it")
        return memory

    def _possible(self) -> bool:
        finite = np.isfinite([self.noise.gain, self.noise.zero, self.noise.sigma, self.level]).all()
        scaled = self.noise.gain > 0 or self.noise.sigma > 0
        pixels = np.isfinite(self.filtered).all() and np.isfinite(self.spread).all() and self.spread.min() >= 0
        return bool(finite and scaled and self.level > 0 and pixels)
