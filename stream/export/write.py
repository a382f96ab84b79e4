"""Writes a recorded lineage in one of the known forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stream.errors import ConfigError, StoreError
from stream.export import ctc_folder, geff_graph, napari_tracks
from stream.export.recorded import Recorded

FORMATS: Mapping[str, Callable[[Recorded, Path], dict[str, Any]]] = {
    "ctc": ctc_folder.write,
    "geff": geff_graph.write,
    "napari": napari_tracks.write,
}


def write(found: Recorded, to: str, out: Path) -> dict[str, Any]:
    """Write ``out``, which must not be there yet (an empty folder may), in the form ``to``.

    Returns
    -------
    dict
        ``format``, ``out``, how much of what is in it, and ``missing``: what the recording does not hold, in words.

    Raises
    ------
    ConfigError
        An unknown form, or one whose package is not installed.
    SourceError
        The recording lacks what the form is made of.
    StoreError
        ``out`` is there already, or cannot be written.
    """
    if to not in FORMATS:
        raise ConfigError(f"'{to}' is no form that lineages are exported to, but {', '.join(FORMATS)}")
    if to == "napari" and out.suffix != ".npz":
        out = out.with_name(out.name + ".npz")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise StoreError(f"{out} is there already, and nothing is overwritten; name another --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return {"format": to, "out": str(out), **FORMATS[to](found, out)}
    except OSError as error:
        raise StoreError(f"{out}: cannot be written: {error}") from error
