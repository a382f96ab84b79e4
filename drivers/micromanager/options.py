"""``[camera.options]`` of the Micro-Manager driver."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import Field, field_validator

from stream.errors import ConfigError
from stream.settings import Settings


class PropertyName(NamedTuple):
    """A property of a device."""

    device: str
    name: str

    def __str__(self) -> str:
        return f"{self.device}.{self.name}"


def property_name(text: str) -> PropertyName:
    """Read ``Device.Property``; the device's label may hold spaces.

    >>> property_name("White Light Shutter.State")
    PropertyName(device='White Light Shutter', name='State')

    Raises
    ------
    ConfigError
        There is no dot with a name on either side.
    """
    device, _, name = text.partition(".")
    if not device or not name:
        raise ConfigError(f"'{text}' is no property; write it as 'Device.Property', e.g. 'Camera.Gain'")
    return PropertyName(device, name)


class MicroManagerOptions(Settings):
    """What the driver must know that the configuration file of Micro-Manager does not say."""

    cfg: Path | None = None
    """Micro-Manager's configuration; None: the demo configuration of the adapters that are found."""
    adapters: tuple[Path, ...] = ()
    """Folders with device adapters; empty: the installation that pymmcore-plus finds."""
    camera: str = ""
    """Label of the camera; empty: the configuration's own choice."""
    properties: dict[str, str | int | float] = Field(default_factory=dict)
    """Set at the start, in order: ``{"Camera.Gain" = 2}``."""
    buffer_mb: int | None = Field(default=None, ge=1)
    """Size of the core's circular buffer; None: as the core has it."""
    decimate: int = Field(default=1, ge=1)
    """Stream mode: keep every n-th frame; the others are counted as decimated, not as lost."""
    interval_property: str | None = None
    """``Device.Property`` in ms that paces the camera in stream mode; None: the camera cannot be paced."""
    light_property: str | None = None
    """``Device.Property`` of the light's power; None: the power cannot be set."""
    light_full: float = Field(default=100.0, gt=0)
    """Value of ``light_property`` at full power."""
    channel_group: str = ""
    """Config group of the channels; empty: the core's channel group."""
    affine_um: tuple[float, float, float, float] | None = None
    """(a, b, c, d) of an unbinned pixel, image (x, y) to stage µm; None: as calibrated in the configuration."""
    slm: str = ""
    """Label of the light modulator; empty: the configuration's own choice."""
    slm_affine: tuple[float, float, float, float, float, float] | None = None
    """(a, b, c, d, e, f): sensor pixel (x, y), full frame and not binned, lies on modulator pixel (a x + b y + c,
    d x + e y + f); None: not calibrated, nothing is stimulated."""
    stimulate_limit_ms: float = Field(default=2_000.0, gt=0)
    """The longest light of one stimulation; no other command is taken while it lasts."""
    latency_ms: float = Field(default=0.0, ge=0)
    """From the end of an exposure to its arrival in the core, as the camera's maker states it (its readout)."""
    xy_tolerance_um: float = Field(default=0.5, gt=0)
    z_tolerance_um: float = Field(default=0.25, gt=0)
    exposure_tolerance: float = Field(default=0.02, gt=0, lt=1)
    """How far a read-back may lie from the request (exposure: as a fraction, at least 0.1 ms)."""
    queue_frames: int = Field(default=16, ge=1)
    """Frames that may wait for ``next``; beyond them whole frames are lost and counted."""
    device_timeout_ms: int = Field(default=5_000, ge=1)
    """How long the core waits for a busy device."""
    snap_timeout_ms: float = Field(default=10_000.0, gt=0)
    """MDA mode: how long an event may take beyond its exposure before its frame counts as failed."""
    stall_s: float | None = Field(default=10.0, gt=0)
    """Stream mode: without an image for so long (beyond what exposure and interval explain) a sequence counts as dead;
    None: never, for a camera that waits for triggers from elsewhere."""
    restart_limit: int = Field(default=5, ge=0)
    """Restarts of a stream that died within ``restart_window_s``."""
    restart_window_s: float = Field(default=60.0, gt=0)
    backoff_ms: float = Field(default=50.0, gt=0)
    """Wait before the first restart; doubled for each one more within the window."""

    @field_validator("properties")
    @classmethod
    def _are_properties(cls, properties: dict[str, str | int | float]) -> dict[str, str | int | float]:
        for text in properties:
            _checked(text)
        return properties

    @field_validator("interval_property", "light_property")
    @classmethod
    def _is_property(cls, text: str | None) -> str | None:
        if text is not None:
            _checked(text)
        return text


def _checked(text: str) -> None:
    try:
        property_name(text)
    except ConfigError as error:
        raise ValueError(str(error)) from None
