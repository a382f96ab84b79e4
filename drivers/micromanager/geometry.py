"""Where the image lies on the sensor and under the stage."""

from __future__ import annotations

from dataclasses import dataclass

from stream.errors import Refused
from stream.frame import IDENTITY_UM, Affine
from stream.layout import image_um

Roi = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Geometry:
    """What is constant within an epoch; see :class:`stream.frame.Frame` for the meaning of each."""

    roi_px: Roi = (0, 0, 0, 0)
    sensor_px: tuple[int, int] = (0, 0)
    binning: int = 1
    affine_um: Affine = IDENTITY_UM
    pixel_type: str = ""

    @property
    def full_px(self) -> Roi:
        """The whole sensor."""
        return (0, 0, *self.sensor_px)

    @property
    def size_um(self) -> tuple[float, float]:
        """Width and height of the image under the stage."""
        return image_um(*self.roi_px[2:], self.affine_um)

    def check(self, roi_px: Roi) -> None:
        """Raise Refused for an ROI that is not on the sensor: adapters accept them, then crash the process."""
        x, y, width, height = roi_px
        if min(x, y) < 0 or min(width, height) < 1 or x + width > self.sensor_px[0] or y + height > self.sensor_px[1]:
            raise Refused(f"ROI {roi_px} is not within the sensor of {self.sensor_px[0]}x{self.sensor_px[1]} pixels")

    def stage_for(self, target_um: tuple[float, float]) -> tuple[float, float]:
        """Return the stage position (x, y) in µm that brings ``target_um`` to the middle of the ROI.

        >>> Geometry((0, 0, 100, 100), (200, 200)).stage_for((10.0, 10.0))
        (60.0, 60.0)
        """
        x, y, width, height = self.roi_px
        dx = x + (width - 1) / 2 - (self.sensor_px[0] - 1) / 2
        dy = y + (height - 1) / 2 - (self.sensor_px[1] - 1) / 2
        (a, b), (c, d) = self.affine_um
        return (target_um[0] - a * dx - b * dy, target_um[1] - c * dx - d * dy)
