"""A network without training that finds Gaussian spots: its weights are written down, its answers can be calculated.

For a spot ``exp(-r² / 2 s²)`` the gradient of its logarithm is ``-r / s²``, so ``s²`` times that is the offset to the
centre; the outline at half of the height has the diameter ``2.355 s``.
"""

from __future__ import annotations

import functools
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from models.spec import PROPERTY, NetSpec

OBJECT_PX = 26.0
HALF_WIDTHS = 2.3548
"""Full width at half of the height, in sigmas."""


def spots(
    shape: tuple[int, int], centres: list[tuple[float, float]], diameter_px: float, peak: float = 200.0,
    offset: float = 1000.0, dtype: type[np.unsignedinteger[Any]] = np.uint16,
) -> NDArray[Any]:  # fmt: skip
    """Gaussian spots whose outline at half of the height has a diameter; where they meet the higher one shows."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape)
    for cy, cx in centres:
        image = np.maximum(image, np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * (diameter_px / HALF_WIDTHS) ** 2)))
    return np.rint(offset + peak * image).astype(dtype)


def blob_onnx(path: Path, **table: Any) -> NetSpec:
    """Write the network to ``path`` and return its table."""
    spec = NetSpec(**{"name": path.name.partition(".")[0], "kind": "nuclei", "object_px": OBJECT_PX, **table})
    path.parent.mkdir(parents=True, exist_ok=True)
    model = onnx.load_from_string(_exported())
    helper.set_model_props(model, {PROPERTY: spec.to_json()})
    onnx.save(model, path)
    return spec


@functools.cache
def _exported() -> bytes:
    """Export the network once: every table describes the same graph."""
    import torch

    from models.nets.export import export

    class BlobNet(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spec = NetSpec("blobs", "nuclei", OBJECT_PX)

        def _look(self, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            half = torch.nn.functional.avg_pool2d(value, 2)
            wide = torch.nn.functional.pad(half, (1, 1, 1, 1), mode="replicate")
            slope_y = (wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]) / 4
            slope_x = (wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]) / 4
            steep = (OBJECT_PX / HALF_WIDTHS) ** 2 / torch.clamp(half, min=0.05)
            return half, torch.clamp(torch.cat([slope_y, slope_x], 1) * steep, -40.0, 40.0)

        def forward(
            self, frames: torch.Tensor, offset: torch.Tensor, scale: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            value = (frames - offset[:, :, None, None]) / scale[:, :, None, None]
            now, own = self._look(value[:, 1:])
            _, before = self._look(value[:, :1])
            seed = torch.exp(-(own**2).sum(1, keepdim=True) / 32) * torch.clamp(now, 0.0, 1.0)
            bright = torch.sigmoid(8 * (now - 0.5))
            maps = torch.cat([seed, own, before, 0.2 * bright, 0.5 * bright], 1)
            return torch.sigmoid(20 * (value[:, 1:] - 0.5)), maps

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own ways
        export(BlobNet(), Path(folder) / "net.onnx")  # type: ignore[arg-type]
        return (Path(folder) / "net.onnx").read_bytes()
