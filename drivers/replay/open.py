"""Which kind of recording a path is."""

from __future__ import annotations

from pathlib import Path

from drivers.replay.folder import FolderRecording
from drivers.replay.recording import Recording
from stream.errors import SourceError

ZARR_MARKS = ("zarr.json", ".zgroup", ".zattrs")


def open_recording(source: Path, pattern: str = "") -> Recording:
    """Open a folder of numbered images, a TIFF file or an OME-Zarr.

    Raises
    ------
    SourceError
        The path is missing, empty, or of no known kind; says what to do.
    """
    if source.is_dir():
        if any((source / mark).is_file() for mark in ZARR_MARKS):
            from drivers.replay.zarrs import ZarrRecording

            return ZarrRecording(source)
        return FolderRecording(source, pattern)
    if not source.exists():
        raise SourceError(f"{source}: no such file or folder; name a folder of numbered images, a TIFF or an OME-Zarr")
    if source.suffix.lower() in (".tif", ".tiff"):
        from drivers.replay.stack import StackRecording

        return StackRecording(source)
    raise SourceError(f"{source}: a recording is a folder of numbered images, a TIFF (.tif, .tiff) or an OME-Zarr")
