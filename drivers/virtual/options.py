"""What ``[camera.options]`` may say to the virtual microscope, with defaults that look like H2B-GFP nuclei at 10x."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from drivers.micromanager.options import MicroManagerOptions
from drivers.virtual.faults import Fault

Channel = Literal["nuclei", "cytoplasm", "phase"]
CHANNELS: dict[str, tuple[Channel, ...]] = {"fluorescence": ("nuclei", "cytoplasm"), "phase": ("phase", "nuclei")}
"""The channels of each modality; the first is active at the start."""


class VirtualOptions(MicroManagerOptions):
    """[camera.options] of the virtual microscope. Times of the specimen are minutes of its own clock.

    The options of the Micro-Manager driver hold too; those that name devices fit the virtual ones.
    """

    seed: int = Field(default=0, ge=0)
    """Same seed and same commands at the same frames of a stream: same pixels. In any case each cell's fate is the
    same, but for what light and its neighbours do to it."""
    cells: int = Field(default=100, ge=1, le=2000)
    """Nuclei in one field of view at the start."""
    fields: int = Field(default=3, ge=1, le=9)
    """The specimen is a square of ``fields`` x ``fields`` fields of view, centred at stage (0, 0)."""
    size_px: tuple[int, int] = (512, 512)
    """Width and height of the sensor."""
    pixel_um: float = Field(default=0.65, gt=0)
    """Side of a sensor pixel in the specimen."""
    minutes_per_second: float = Field(default=12.0, gt=0)
    """Specimen minutes that pass in a second of the camera's schedule; at 100 ms a frame is 1.2 minutes."""
    cycle_min: float = Field(default=2400.0, gt=120)
    """Mean cell cycle in minutes; individuals vary by 15 %."""
    mitosis_pace: float = Field(default=1.0, gt=0.1)
    """Stretches every phase of mitosis (1: about 37 minutes from rounding to two young nuclei)."""
    speed_um_min: float = Field(default=0.25, ge=0)
    """Root mean square speed of a free cell."""
    deaths_per_day: float = Field(default=0.05, ge=0)
    """Chance that a cell dies within a day."""
    nucleus_um: float = Field(default=14.6, gt=2)
    """Mean diameter of a nucleus in mid cycle."""

    toxic_slow_s: float | None = Field(default=None, gt=0)
    """Seconds of full light from which a cell slows down, to ``toxic_slow_s / dose`` of its pace; None: never.

    A frame of 20 ms at light 0.5 is 0.01 s. Fluorescence light counts, from the camera's frames and from the
    modulator; transmitted light (``phase``) does no harm. Daughters inherit their mother's dose.
    """
    toxic_lethal_s: float | None = Field(default=None, gt=0)
    """Median dose, in seconds of full light, at which a cell begins to die; None: light does not kill."""
    toxic_spread: float = Field(default=0.2, ge=0, lt=2)
    """Standard deviation of the logarithm of the lethal dose from cell to cell."""
    activation_s: float = Field(default=0.05, gt=0)
    """Seconds of the modulator's light that activate a cell to 1 - 1/e: brighter in ``cytoplasm``, up to threefold."""
    activation_min: float = Field(default=90.0, gt=0)
    """Minutes after which 1/e of an activation is left."""

    modality: Literal["fluorescence", "phase"] = "fluorescence"
    channels: tuple[Channel, ...] = ()
    """Channels of the group ``Channel``, the first one active; empty: those of the modality."""
    numerical_aperture: float = Field(default=0.3, gt=0, lt=1)
    wavelength_nm: float = Field(default=520.0, gt=300, lt=1000)
    vignette: float = Field(default=0.25, ge=0, lt=1)
    """Loss of light in the corners."""
    brightness: float = Field(default=1.0, gt=0)
    """1: a young nucleus gives about 600 photons a pixel in 20 ms at light 0.5."""
    background: float = Field(default=0.1, ge=0)
    """Autofluorescence and stray light as a fraction of a young nucleus."""
    bleach_s: float = Field(default=120.0, gt=0)
    """Seconds of full light that leave 1/e of the fluorescence (600 frames of 20 ms at 0.5: 95 %)."""

    quantum_efficiency: float = Field(default=0.8, gt=0, le=1)
    gain_e_adu: float = Field(default=0.5, gt=0)
    """Electrons per count at 12 and 16 bit; an 8 bit count is worth 16 of them."""
    offset_adu: float = Field(default=100.0, ge=0)
    read_noise_e: float = Field(default=1.6, ge=0)
    dark_e_s: float = Field(default=0.5, ge=0)
    exposure_ms: float = Field(default=20.0, gt=0)
    light: float = Field(default=0.5, ge=0, le=1)

    camera: str = "Camera"
    buffer_mb: int | None = Field(default=256, ge=1)
    """Frames that may wait in the core; beyond it the oldest is overwritten, as in real cameras."""
    latency_ms: float = Field(default=10.0, ge=0)
    """Readout: how long after its exposure a frame arrives; it is rendered meanwhile."""
    interval_property: str | None = "Camera.Interval_ms"
    light_property: str | None = "Light.Power"
    light_full: float = Field(default=1.0, gt=0)
    light_between_frames: bool = False
    """With auto-shutter: whether the light stays on from frame to frame of a sequence, as where no camera triggers it.

    A shutter that is opened by a command, or without auto-shutter, stays open in any case: cells are lit all the time.
    """
    channel_group: str = "Channel"
    slm: str = "Modulator"
    slm_affine: tuple[float, float, float, float, float, float] | None = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

    faults: tuple[Fault, ...] = ()
    """What goes wrong, and when: see :mod:`drivers.virtual.faults`."""
    truth_dir: Path | None = None
    """Where the exact truth goes (Cell Tracking Challenge form); None: nowhere."""

    truth_cells_min: float = Field(default=12.0, gt=0)
    """Specimen minutes from one line with the places of all cells in the truth to the next."""

    @model_validator(mode="after")
    def _sizes(self) -> VirtualOptions:
        if not all(32 <= side <= 8192 for side in self.size_px):
            raise ValueError(f"size_px {self.size_px} must lie between 32 and 8192")
        return self

    @property
    def channel_names(self) -> tuple[Channel, ...]:
        """The channels on offer, the active one first."""
        return self.channels or CHANNELS[self.modality]

    @property
    def specimen_um(self) -> tuple[float, float]:
        """Width and height of the specimen."""
        width, height = self.size_px
        return self.fields * width * self.pixel_um, self.fields * height * self.pixel_um
