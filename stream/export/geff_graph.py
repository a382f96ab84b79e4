"""GEFF, the graph exchange file format: a Zarr group of nodes, edges and what is known of them (extra ``[export]``).

Source: the GEFF specification, https://liveimagetrackingtools.org/geff/latest/specification
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigError
from stream.export.graph import Graph, graph
from stream.export.recorded import Recorded

REGULAR = 0.05
"""The most that an interval may differ from the median for the time axis to have a scale."""


class Prop(NamedTuple):
    """A property of nodes or edges; where ``missing``, nobody knows it."""

    values: NDArray[Any]
    missing: NDArray[np.bool_] | None
    unit: str | None
    words: str


def write(found: Recorded, out: Path) -> dict[str, Any]:
    """Write the group ``out``; say what is in it.

    Raises
    ------
    ConfigError
        The extra ``export`` is not installed.
    SourceError
        No places of cells were recorded.
    """
    try:
        from geff.core_io import write_arrays
        from geff_spec import Axis, GeffMetadata, PropMetadata
    except ImportError as error:
        raise ConfigError(f"GEFF needs a package that is not here ({error}); pip install 'cytoloop[export]'") from error
    made = graph(found)
    nodes, edges = node_props(made, found.seconds), edge_props(made)
    interval_s = regular_interval_s(found.seconds)
    about = GeffMetadata(
        directed=True,
        axes=[
            Axis(name="t", type="time", unit="frame", **_scale(interval_s, "second")),
            *(Axis(name=axis, type="space", unit="pixel", **_scale(found.pixel_um, "micrometer")) for axis in "yx"),
        ],
        node_props_metadata={name: PropMetadata(**_about(name, prop)) for name, prop in nodes.items()},
        edge_props_metadata={name: PropMetadata(**_about(name, prop)) for name, prop in edges.items()},
        track_node_props={"tracklet": "cell_id", "lineage": "founder_id"},
        display_hints={"display_horizontal": "x", "display_vertical": "y", "display_time": "t"},
        extra={"cytoloop": {"version": metadata.version("cytoloop"), "field": found.history.field}},
    )
    write_arrays(
        out,
        np.arange(len(made.spots), dtype=np.uint64),
        {name: {"values": prop.values, "missing": prop.missing} for name, prop in nodes.items()},
        made.edges.astype(np.uint64),
        {name: {"values": prop.values, "missing": prop.missing} for name, prop in edges.items()},
        about,
    )
    left_out = [f"{made.left_out} tracks of which no place was recorded"] if made.left_out else []
    return {"nodes": len(made.spots), "edges": len(made.edges), "tracks": len(made.tree.cell_of), "missing": left_out}


def node_props(made: Graph, seconds: Mapping[int, float]) -> dict[str, Prop]:
    """Return what is known of each spot."""
    spots = made.spots
    props = {
        "t": Prop(spots["frame"], None, "frame", "number of the frame in its field"),
        "y": Prop(spots["y_px"], None, "pixel", "centroid"),
        "x": Prop(spots["x_px"], None, "pixel", "centroid"),
        "x_um": _known(
            spots["x_um"], "micrometer", "centroid on the stage, whatever the stage and the camera's ROI did"
        ),
        "y_um": _known(spots["y_um"], "micrometer", "centroid on the stage"),
        "track_id": Prop(spots["track"], None, None, "the track's number, as in masks and events"),
        "cell_id": Prop(made.of_cells("cell_id"), None, None, "the first of the cell's tracks: tracks without a split"),
        "founder_id": Prop(made.of_cells("founder_id"), None, None, "the first cell of the family"),
        "generation": Prop(made.of_cells("generation"), None, None, "divisions between the founder and this cell"),
        "area_px": _known(spots["area_px"].astype(np.float64), "pixel²", "area"),
        "mean_counts": _known(
            spots["mean_counts"].astype(np.float64), "count", "mean of the raw pixels in the first measured channel"
        ),
        "time_s": _known(
            np.array([seconds.get(frame, np.nan) for frame in spots["frame"].tolist()], np.float64),
            "second",
            "since the field's first frame, by the rig's stamps",
        ),
    }
    return {name: prop for name, prop in props.items() if prop.missing is None or not prop.missing.all()}


def edge_props(made: Graph) -> dict[str, Prop]:
    """Return what is known of each edge."""
    probability = _known(made.probability, None, "of the division, by the last word on its event; 0 to 1")
    return {
        "division": Prop(made.division, None, None, "from a mother to a daughter"),
        "division_probability": probability,
    }


def regular_interval_s(seconds: Mapping[int, float]) -> float | None:
    """Return the time from frame to frame where it is the same throughout, else None."""
    if len(seconds) < 2:
        return None
    frames = np.array(sorted(seconds))
    steps_s = np.diff([seconds[frame] for frame in frames.tolist()]) / np.diff(frames)
    middle = float(np.median(steps_s))
    return middle if middle > 0 and np.all(np.abs(steps_s - middle) <= REGULAR * middle) else None


def _scale(scale: float | None, unit: str) -> dict[str, Any]:
    return {} if scale is None else {"scale": scale, "scaled_unit": unit}


def _known(values: NDArray[np.float64], unit: str | None, words: str) -> Prop:
    missing = ~np.isfinite(values)
    return Prop(np.where(missing, 0.0, values), missing if missing.any() else None, unit, words)


def _about(name: str, prop: Prop) -> dict[str, Any]:
    return {"identifier": name, "dtype": prop.values.dtype.name, "unit": prop.unit, "description": prop.words}
