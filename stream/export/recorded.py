"""What can be exported of a recorded run, or of a result folder: the lineage, and where each track was when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stream.ancestry import UNKNOWN_S, History
from stream.errors import SourceError
from stream.export import results
from stream.facts import analysis, lineage
from stream.facts.lineage import SPOT, Spots


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """One field's past.

    Parameters
    ----------
    source
        The run's or result's folder.
    history
        Its tracks.
    spots
        Where each was, by track and frame; empty where the run recorded no cells.
    frames
        The decided frames, ascending.
    seconds
        Frame → seconds since the field's first frame; empty where times are unknown.
    pixel_um
        The side of a pixel; None unknown.
    results
        The folder of its masks and ``res_track.txt``; None where there is none.
    """

    source: Path
    history: History
    spots: Spots
    frames: Sequence[int]
    seconds: Mapping[int, float]
    pixel_um: float | None = None
    results: Path | None = None


def open_recorded(
    source: Path,
    field: str | None = None,
    *,
    interval_s: float | None = None,
    pixel_um: float | None = None,
    places: bool = True,
) -> Recorded:
    """Read a recorded run (also one that goes on), or what ``cytoloop evaluate`` wrote.

    Parameters
    ----------
    field
        Which of a run's fields; needed where there are several.
    interval_s, pixel_um
        Overrule what the recording says of the time between frames and the side of a pixel.
    places
        Whether to read where the cells were; a long run has millions of places.

    Raises
    ------
    SourceError
        It is neither, or the field is not told.
    StoreError
        A run's facts cannot be read.
    """
    if (source / analysis.FILE).is_file():
        found = _run(source, _field(source, field), places)
    elif (source / results.TRACKS).is_file():
        found = Recorded(source, *results.read(source), seconds={}, results=source)
    else:
        state = f"has neither {analysis.FILE} nor {results.TRACKS}" if source.is_dir() else "is no folder"
        raise SourceError(f"{source} {state}; name the folder of a run, or the --out of cytoloop evaluate")
    if interval_s is not None:
        found = _timed(found, interval_s)
    return found if pixel_um is None else replace(found, pixel_um=pixel_um)


def _run(source: Path, field: str, places: bool) -> Recorded:
    labels = source / "labels" / field.replace(":", "_")
    return Recorded(
        source,
        lineage.read_history(source, field),
        lineage.read_spots(source, field) if places else np.zeros(0, SPOT),
        lineage.read_frames(source, field),
        lineage.read_seconds(source, field),
        lineage.read_pixel_um(source, field),
        labels if (labels / results.TRACKS).is_file() else None,
    )


def _field(source: Path, field: str | None) -> str:
    known = lineage.fields(source)
    if not known:
        raise SourceError(f"{source}: no frame of this run was decided")
    if field is None and len(known) > 1:
        raise SourceError(f"{source} has the fields {', '.join(known)}; choose one with --field")
    if field is not None and field not in known:
        raise SourceError(f"{source} has no field '{field}', but {', '.join(known)}")
    return field or known[0]


def _timed(found: Recorded, interval_s: float) -> Recorded:
    first = found.history.first
    seconds = {frame: (frame - first) * interval_s for frame in found.frames}
    rows = found.history.rows.copy()
    for name in ("born", "last"):
        rows[f"{name}_s"] = [seconds.get(frame, UNKNOWN_S) for frame in rows[name].tolist()]
    return replace(found, history=replace(found.history, rows=rows), seconds=seconds)


def placed(found: Recorded) -> tuple[History, Spots, int]:
    """Return the history of the tracks whose places are known, the places, and how many tracks are left out.

    Raises
    ------
    SourceError
        No place of any track is known.
    """
    rows = found.history.rows
    spots = found.spots[np.isin(found.spots["track"], rows["track"])]
    history = found.history.of_tracks(np.unique(spots["track"]))
    if not len(spots):
        raise SourceError(
            f"{found.source} holds no places of cells, and this format is made of them; a run records them with "
            "[record] cells = true"
        )
    return history, spots, len(rows) - len(history.rows)
