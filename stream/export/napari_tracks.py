"""napari's tracks layer as one ``.npz`` file: its ``data``, ``graph`` and ``properties``, read without cytoloop.

Source: napari's documentation of the tracks layer, https://napari.org/stable/howtos/layers/tracks.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stream.export.graph import graph
from stream.export.recorded import Recorded

LOAD = (
    'f = numpy.load("{name}"); viewer.add_tracks(f["tracks"], graph={{c: [p] for c, p in f["graph"].tolist()}}, '
    'properties={{k: f[k] for k in f["properties"].tolist()}})'
)
"""The line that opens the file in napari's console."""
PROPERTIES = ("cell_id", "founder_id", "generation")


def write(found: Recorded, out: Path) -> dict[str, Any]:
    """Write the file ``out``: ``tracks`` (n, 4) as (track, frame, y, x) in px, ``graph`` (m, 2) as (child, parent).

    Raises
    ------
    SourceError
        No places of cells were recorded.
    """
    made = graph(found)
    spots = made.spots
    columns = [spots[name].astype(np.float64) for name in ("track", "frame", "y_px", "x_px")]
    links = np.array(sorted(made.tree.parents.items()), np.int64).reshape(-1, 2)
    properties: dict[str, Any] = {name: made.of_cells(name) for name in PROPERTIES}
    if np.isfinite(spots["area_px"]).all():
        properties["area_px"] = spots["area_px"]
    with out.open("wb") as file:
        np.savez_compressed(
            file, tracks=np.stack(columns, 1), graph=links, properties=np.array(list(properties)), **properties
        )
    left_out = [f"{made.left_out} tracks of which no place was recorded"] if made.left_out else []
    return {"points": len(spots), "links": len(links), "load": LOAD.format(name=out.name), "missing": left_out}
