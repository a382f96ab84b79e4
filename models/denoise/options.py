"""What a user may say of a camera's noise, for every denoiser."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator

from models.denoise.noise import Noise, estimate
from stream.settings import Settings


class NoiseOptions(Settings):
    """What is known of the camera; what is not is read from the first frame."""

    gain: float | None = Field(default=None, ge=1e-3)
    """Counts per photoelectron; None: read from the first frame."""
    offset: float | None = Field(default=None, ge=0, le=65535)
    """Counts without light; None: read from the first frame. Only together with ``read_noise``."""
    read_noise: float | None = Field(default=None, ge=0, le=65535, validate_default=True)
    """Counts (root mean square) without light; None: read from the first frame. Only together with ``offset``."""

    @field_validator("read_noise")
    @classmethod
    def _both_or_neither(cls, value: float | None, info: ValidationInfo) -> float | None:
        if (value is None) != (info.data.get("offset") is None):
            raise ValueError("and 'offset' only make sense together: give both or neither")
        return value

    def noise_of(self, pixels: NDArray[Any]) -> Noise:
        """Return the noise of the camera that took this frame ``(y, x)``."""
        dark = None if self.offset is None or self.read_noise is None else (self.offset, self.read_noise)
        return estimate(pixels, self.gain, dark)
