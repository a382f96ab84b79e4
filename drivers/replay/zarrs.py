"""An OME-Zarr image (NGFF 0.4 and 0.5): its full-resolution level, plane by plane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from drivers.replay.axes import name_axes, planes_of
from drivers.replay.recording import About, Plane
from drivers.replay.units import to_ms, to_um
from stream.errors import SourceError


class ZarrRecording:
    """The first multiscale image of an OME-Zarr folder.

    Raises
    ------
    SourceError
        The folder is no OME-Zarr image, or its axes cannot be told apart.
    """

    def __init__(self, path: Path) -> None:
        try:
            group = zarr.open_group(path, mode="r")
            if not _stated(group) and "0" in group and isinstance(group["0"], zarr.Group):
                group = group["0"]  # the layout of bioformats2raw: a folder of images
            stated = _stated(group)
            image = stated["multiscales"][0]
            self._array: Any = group[image["datasets"][0]["path"]]
            axes = [_axis(axis) for axis in image["axes"]]
        except Exception as error:  # stores raise anything on torn metadata: the edge between them and the replay
            raise SourceError(f"{path}: not an OME-Zarr image (NGFF 0.4 or 0.5): {error!r}") from error
        scale = dict(zip((name for name, _ in axes), _scale(image), strict=True))
        units = dict(axes)
        names = "".join(name for name, _ in axes)
        shape = self._array.shape
        kept = [i for i, size in enumerate(shape[:-2]) if size > 1]
        outer = name_axes("".join(names[i] for i in kept) + names[-2:], str(path))
        self._kept, self._ndim = kept, len(shape)
        channels = [str(one.get("label", "")) for one in stated.get("omero", {}).get("channels", [])]
        self.planes: Sequence[Plane] = planes_of(outer, [shape[i] for i in kept], channels)
        self._unwritten = frozenset(self._after_the_last(path))
        interval = to_ms(scale.get("t"), units.get("t", "")) or None
        extra = {"axes": names, "version": str(stated.get("version", image.get("version", "")))}
        self.about = About("ome-zarr", interval, to_um(scale.get("x"), units.get("x", "")), extra)

    def read(self, plane: Plane) -> NDArray[Any]:
        """Read one plane. Raises SourceError."""
        at = self._place(plane)
        if plane.key in self._unwritten:
            raise SourceError(f"plane {at} was never written: the recording breaks off before it")
        try:
            return np.asarray(self._array[at])
        except Exception as error:  # codecs raise anything on torn chunks: the edge between them and the replay
            raise SourceError(f"plane {at} cannot be read: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Hold nothing."""

    def _place(self, plane: Plane) -> tuple[int, ...]:
        """Return where the plane stands along every axis before ``yx``."""
        at = [0] * (self._ndim - 2)
        for i, place in zip(self._kept, plane.key, strict=True):
            at[i] = place
        return tuple(at)

    def _after_the_last(self, folder: Path) -> Iterator[tuple[int, ...]]:
        """Yield the keys of the planes after the last one of which anything is on disk; none where nothing is.

        A chunk that is not there is read as zeros, and one of nothing but zeros need not be written: a black image
        between others is one. What follows them all is what a run that broke off never took.
        """
        missing = list(takewhile(lambda plane: not self._on_disk(folder, plane), reversed(self.planes)))
        return (plane.key for plane in missing if len(missing) < len(self.planes))

    def _on_disk(self, folder: Path, plane: Plane) -> bool:
        array, key = self._array, self._array.metadata.encode_chunk_key
        sizes = array.shards or array.chunks
        outer = [place // size for place, size in zip(self._place(plane), sizes[:-2], strict=True)]
        across = [range(-(-extent // size)) for extent, size in zip(array.shape[-2:], sizes[-2:], strict=True)]
        return any((folder / array.path / key((*outer, *chunk))).is_file() for chunk in product(*across))


def _stated(group: zarr.Group) -> Mapping[str, Any]:
    attributes: Mapping[str, Any] = group.attrs.asdict()
    ome: Mapping[str, Any] = attributes.get("ome", attributes)
    return ome if "multiscales" in ome else {}


def _axis(axis: Any) -> tuple[str, str]:
    return (axis, "") if isinstance(axis, str) else (str(axis["name"]), str(axis.get("unit", "")))


def _scale(image: Mapping[str, Any]) -> list[float]:
    total = np.ones(len(image["axes"]))
    for holder in (image["datasets"][0], image):
        for transform in holder.get("coordinateTransformations", []):
            if transform["type"] == "scale":
                total = total * np.asarray(transform["scale"], np.float64)
    return [float(value) for value in total]
