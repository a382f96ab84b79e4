"""A denoiser that asks a small network, run by whatever runs networks on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models import zoo
from models.denoise import kernel
from models.denoise.memory import Scene
from models.denoise.noise import Noise
from models.denoise.options import NoiseOptions
from models.denoise.past import Past
from models.denoise.planes import planes
from models.denoise.recursive import MISSED_TOO_MANY, level_of, plain, sealed
from models.denoise.spec import FRAMES, INPUTS, MULTIPLE, PLANES, DenoiseSpec
from models.runtime import Session, open_session
from models.spec import PROPERTY
from models.zoo.metadata import properties
from stream.errors import ConfigError, StageError
from stream.settings import parse
from stream.stages import Moment

MOST = np.float32(6)
"""Standard deviations by which a pixel may be changed at most: whatever the network says, nothing is invented."""
LEAST_PX = 2 * MULTIPLE


class NetworkOptions(NoiseOptions):
    """``[chain] denoise_options`` of the network denoiser."""

    model: str = "denoise"
    """A network of the zoo, or the path of an ``.onnx`` file."""
    runtime: str = "auto"
    precision: str = "auto"
    """See :func:`models.runtime.open_session`."""
    threads: int = Field(default=0, ge=0)
    """On the CPU; 0: all cores."""
    strength: float = Field(default=1.0, ge=0, le=1)
    """Share of what the network holds for noise that is taken away."""


class NetworkDenoiser:
    """Takes away what a small network holds for noise in the newest of three frames; a :class:`stream.stages.Denoiser`.

    The noise is stabilised as in :class:`models.denoise.recursive.RecursiveDenoiser`. The network sees frames t-2 to t
    (at the start, and after a change of geometry, exposure or channel, those that there are) and answers in standard
    deviations of the noise; no pixel is changed by more than ``MOST`` of them.

    Parameters
    ----------
    options
        See :class:`NetworkOptions`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = parse(NetworkOptions, options, "[chain] denoise_options")
        self._model = _checked(zoo.path(self._options.model))
        self._past: Past | None = None
        self._session: Session | None = None
        self._room = np.empty((PLANES, 0, 0), np.float32)

    @property
    def noise(self) -> Noise | None:
        """The noise in use; None before the first frame."""
        return self._past.noise if self._past else None

    @property
    def session(self) -> Session | None:
        """What runs the network; None before the first frame."""
        return self._session

    def step(self, moment: Moment) -> Moment:
        """Return the moment with ``denoised`` filled in: a fresh, finite float32 array ``(y, x)`` in counts.

        Raises StageError or RuntimeUnavailable when the network cannot be run.
        """
        height, width = moment.frame.pixels.shape
        pixels, scene = _padded(plain(moment.frame.pixels)), Scene.of(moment.frame)
        past = self._past
        if past is None or moment.missed > MISSED_TOO_MANY or not past.scene.continues(scene):
            past = self._begin(pixels, scene)
        elif len(past.frames) == 1:
            past.level = level_of(pixels, past.frames[0], past.noise)
        noise = past.noise
        fresh = np.empty(pixels.shape, np.float32)
        kernel.stabilise(pixels, fresh, noise.gain, noise.zero, noise.sigma)
        out = self._without_noise(pixels, fresh, past)
        past.add(fresh)
        past.scene, self._past = scene, past
        return replace(moment, denoised=sealed(np.ascontiguousarray(out[:height, :width])))

    def reset(self, reason: str) -> None:
        """Forget the past; the next frame is denoised alone."""
        self._past = None

    def save(self) -> bytes:
        """Return the state as bytes."""
        return self._past.save() if self._past else b""

    def load(self, state: bytes) -> None:
        """Take up a state that :meth:`save` returned. Raises StageError when it is torn."""
        self._past = Past.load(state) if state else None

    def _begin(self, pixels: NDArray[Any], scene: Scene) -> Past:
        before = self._past
        if before is not None and before.scene.same_sensor(scene):
            return Past(scene, before.noise)
        return Past(scene, self._options.noise_of(pixels))

    def _without_noise(self, pixels: NDArray[Any], fresh: NDArray[np.float32], past: Past) -> NDArray[np.float32]:
        session = self._opened(pixels.shape)
        planes(fresh, past.frames, self._room, past.level)
        known = np.zeros((1, FRAMES - 1), np.float32)
        known[0, : len(past.frames)] = 1
        (excess,) = session.run(self._room[None], known)
        taken = np.clip(excess[0, 0], -MOST, MOST)
        taken *= np.float32(-past.level * self._options.strength)
        taken += fresh
        noise, out = past.noise, np.empty(pixels.shape, np.float32)
        nothing_left = np.zeros(pixels.shape, np.float32)
        kernel.restore(pixels, taken, nothing_left, out, noise.gain, noise.zero, noise.sigma, past.level)
        return out

    def _opened(self, shape: tuple[int, ...]) -> Session:
        """Return the session for this shape; another shape closes the one before."""
        if self._session is None or self._room.shape[1:] != shape:
            if self._session is not None:
                self._session.close()
            asked, self._session = self._options, None
            shapes = {INPUTS[0]: (1, PLANES, *shape), INPUTS[1]: (1, FRAMES - 1)}
            self._session = open_session(
                self._model, shapes, runtime=asked.runtime, precision=asked.precision, threads=asked.threads
            )
            self._room = np.empty((PLANES, *shape), np.float32)
        return self._session


def _checked(model: Path) -> Path:
    """Return the file if it holds a denoising network. Raises ConfigError."""
    try:
        DenoiseSpec.from_json(properties(model).get(PROPERTY, ""))
    except StageError as error:
        raise ConfigError(f"[chain] denoise_options: model {model}: {error}") from error
    return model


def _padded(pixels: NDArray[Any]) -> NDArray[Any]:
    """Mirror the image over its lower and right rim to sides that the network takes."""
    down, right = (max(-(-side // MULTIPLE) * MULTIPLE, LEAST_PX) - side for side in pixels.shape)
    if not down and not right:
        return pixels
    return plain(cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_REFLECT_101))
