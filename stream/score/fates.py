"""Whether cells that were said to have died or left had done so: ``death`` and ``exit`` events against true tracks.

Such an event names the last frame in which its cell was seen. A death came true when the true track ends within
:data:`WITHIN` frames of it, and no division ended it: truth follows a cell that fades a little longer or shorter than a
tracker does. An exit came true when nothing that was found covers the cell in so many frames: cells that the edge cuts
are not followed, so truth may well see a part of it longer, but it did not come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from stream.event import PICTURE_MOVED
from stream.score.asof import Outcomes
from stream.score.overlap import Overlap
from stream.score.truth import Rows

Fate = Literal["death", "exit"]
WITHIN: Mapping[Fate, int] = {"death": 15, "exit": 10}
"""Frames after the event's that show whether it came true."""
LOOKED_BACK = 6
"""Frames before the event's in which the found cell may have covered a true one, where it covers none in that frame."""


def outcomes(fate: Fate, overlaps: Mapping[int, Overlap], rows: Rows, lines: Iterable[Mapping[str, Any]]) -> Outcomes:
    """Return the confidence of each first word that is judged, and 1.0 where it came true, else 0.0.

    Not judged are events so near the recording's end that nobody knows, exits for which the picture moved, and exits of
    cells that the truth does not know: it leaves out many at the border. A death of such a cell is false.

    Parameters
    ----------
    overlaps
        Of all frames, found labels as in the masks.
    rows
        Of the true tracks: label, first and last frame, mother.
    lines
        The objects of ``events.jsonl``.
    """
    ends, mothers = dict(zip(rows[:, 0].tolist(), rows[:, 2].tolist(), strict=True)), set(rows[:, 3].tolist())
    final = max(overlaps)
    stated, came_true = [], []
    for line in lines:
        if line["kind"] != fate or line["revision"] > 0 or line["reason"] == PICTURE_MOVED:
            continue
        until = int(line["frame"]) + WITHIN[fate]
        cell = _covered(overlaps, int(line["parent_id"]), int(line["frame"]))
        if until > final or (cell is None and fate == "exit"):
            continue
        stated.append(float(line["confidence"]))
        if fate == "exit":
            again = (cell in overlaps[number].pair_truth for number in range(int(line["frame"]) + 1, until + 1))
            came_true.append(not any(again))
        else:
            came_true.append(cell is not None and cell not in mothers and ends[cell] <= until)
    return np.array(stated, np.float64), np.array(came_true, np.float64)


def _covered(overlaps: Mapping[int, Overlap], found: int, frame: int) -> int | None:
    """Return the true cell that a found one covered in a frame, or in the last one before it in which it did."""
    for number in range(frame, frame - LOOKED_BACK - 1, -1):
        cell = overlaps[number].matches().get(found) if number in overlaps else None
        if cell is not None:
            return cell
    return None
