"""A TIFF file of many pages: OME-TIFF, ImageJ hyperstack, or plain pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from drivers.replay.axes import name_axes, planes_of
from drivers.replay.recording import About, Plane
from drivers.replay.units import to_ms, to_um
from stream.errors import SourceError


class StackRecording:
    """The first image series of a TIFF file, page by page.

    Raises
    ------
    SourceError
        The file is no TIFF, holds no image, colours, or axes that cannot be told apart.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._file = path.open("rb")
        try:
            self._understand(path)
        except Exception as error:  # parsers raise anything on torn files: the edge between them and the replay
            self._file.close()
            if isinstance(error, SourceError):
                raise
            raise SourceError(f"{path}: not a readable TIFF: {type(error).__name__}: {error}") from error

    def _understand(self, path: Path) -> None:
        self._tiff = tifffile.TiffFile(self._file, name=path.name)
        self._series = self._tiff.series[0]
        stated = _stated(self._tiff)
        axes, shape = self._series.axes, self._series.shape
        kept = [i for i, size in enumerate(shape[:-2]) if size > 1]
        outer = name_axes("".join(axes[i] for i in kept) + axes[-2:], str(path))
        self._shape = tuple(shape[i] for i in kept)
        self.planes: Sequence[Plane] = planes_of(outer, self._shape, stated["channels"])
        self.about = About("tiff", stated["interval_ms"], stated["pixel_um"], {"axes": axes})

    def read(self, plane: Plane) -> NDArray[Any]:
        """Read one page. Raises SourceError."""
        number = int(np.ravel_multi_index(plane.key, self._shape)) if self._shape else 0
        try:
            return self._page(number)
        except Exception as error:  # decoders raise anything on torn pages: the edge between them and the replay
            message = f"page {number} of {self._name} cannot be read: {type(error).__name__}: {error}"
            raise SourceError(message) from error

    def close(self) -> None:
        """Close the file."""
        self._tiff.close()
        self._file.close()

    def _page(self, number: int) -> NDArray[Any]:
        pages = self._series.pages
        count = int(np.prod(self._shape, dtype=int))
        if len(pages) == count:
            page = pages[number]
            if page is None:
                raise ValueError("the file does not hold it")
            return np.asarray(page.asarray())
        if self._series.dataoffset is None:
            raise ValueError(f"{count} planes are stated, {len(pages)} pages are there")
        size = int(np.prod(self._series.shape[-2:]))
        offset = self._series.dataoffset + number * size * self._series.dtype.itemsize
        data = self._tiff.filehandle.read_array(self._tiff.byteorder + self._series.dtype.char, size, offset)
        return np.asarray(data).reshape(self._series.shape[-2:])


def _stated(tiff: tifffile.TiffFile) -> dict[str, Any]:
    """Gather channel names, interval and pixel size from OME-XML or ImageJ's own metadata."""
    if tiff.is_ome and tiff.ome_metadata:
        return _ome(tifffile.xml2dict(tiff.ome_metadata))
    if tiff.is_imagej and tiff.imagej_metadata:
        return _imagej(tiff.imagej_metadata, tiff.pages[0])
    return {"channels": [], "interval_ms": None, "pixel_um": None}


def _ome(document: Mapping[str, Any]) -> dict[str, Any]:
    images = document["OME"]["Image"]
    pixels = (images[0] if isinstance(images, list) else images)["Pixels"]
    channels = pixels.get("Channel", [])
    channels = channels if isinstance(channels, list) else [channels]
    interval = to_ms(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    return {
        "channels": [str(channel.get("Name", "")) for channel in channels if channel.get("Name")],
        "interval_ms": interval or _from_planes(pixels.get("Plane", [])),
        "pixel_um": to_um(pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit", "µm")),
    }


def _from_planes(planes: Any) -> float | None:
    """Return the median time between time points that the planes state; None where it is not above 0."""
    listed = planes if isinstance(planes, list) else [planes]
    times = {int(one["TheT"]): to_ms(one.get("DeltaT"), one.get("DeltaTUnit", "s")) for one in reversed(listed)}
    known = [ms for _, ms in sorted(times.items()) if ms is not None]
    median_ms = float(np.median(np.diff(known))) if len(known) > 1 else 0.0
    return median_ms if median_ms > 0 else None


def _imagej(stated: Mapping[str, Any], page: Any) -> dict[str, Any]:
    resolution = page.tags.get("XResolution")
    pixels, units = resolution.value if resolution is not None else (0, 1)
    pixel = units / pixels if pixels and stated.get("unit") else None
    interval = to_ms(stated.get("finterval") or None, str(stated.get("tunit", "s")))
    labels = stated.get("Labels") or []
    channels = list(labels)[: int(stated.get("channels", 1))] if int(stated.get("channels", 1)) > 1 else []
    return {"channels": channels, "interval_ms": interval, "pixel_um": to_um(pixel, str(stated.get("unit", "")))}
