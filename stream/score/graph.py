"""How far a result's graph is from the truth's: what would have to be corrected, after Matula et al. 2015.

Vertices are the objects of each frame; edges lead to a track's next object, or from a mother's last to a daughter's
first. py-ctcmetrics counts the same in a matrix of all objects of the result by all of the truth, which takes most of
the time of a score and, for thousands of objects, gigabytes (a test compares both).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stream.score.overlap import Labels, Overlap
from stream.score.truth import Rows

Edges = dict[tuple[int, int], bool]
"""By the numbers of both vertices: whether it leads from mother to daughter."""

_FRAME = 1 << 32
"""A vertex is numbered ``frame * _FRAME + label``."""


def corrections(overlaps: Sequence[Overlap], truth_rows: Rows, found_rows: Rows) -> dict[str, int]:
    """Count the corrections by the names that py-ctcmetrics gives them.

    Parameters
    ----------
    overlaps
        One per frame, from frame 0 on.
    truth_rows, found_rows
        Tracks of exactly the labels in the overlaps.

    Returns
    -------
    dict
        Objects of the result that must be split (NS), added (FN) or removed (FP); edges that must be removed (ED),
        added (EA) or told otherwise (EC); and how many objects and edges the truth has.
    """
    pairs = sum(len(one.pair_truth) for one in overlaps)
    covering = sum(len(np.unique(one.pair_found)) for one in overlaps)
    objects = sum(len(one.truth) for one in overlaps)
    true = _edges([one.truth for one in overlaps], truth_rows)
    found = _named(_edges([one.found for one in overlaps], found_rows), [one.matches() for one in overlaps])
    shared = true.keys() & found.keys()
    return {
        "num_vertices": objects,
        "num_edges": len(true),
        "NS": pairs - covering,
        "FN": objects - pairs,
        "FP": sum(len(one.found) for one in overlaps) - covering,
        "ED": len(found) - len(shared),
        "EA": len(true) - len(shared),
        "EC": sum(true[edge] != found[edge] for edge in shared),
    }


def _edges(labels: Sequence[Labels], rows: Rows) -> Edges:
    edges: Edges = {}
    for frame, (now, after) in enumerate(zip(labels[:-1], labels[1:], strict=True)):
        both = np.intersect1d(now, after) + frame * _FRAME
        edges |= dict.fromkeys(zip(both.tolist(), (both + _FRAME).tolist(), strict=True), False)
    last = {label: end * _FRAME + label for label, _, end, _ in rows.tolist()}
    for label, begin, _, parent in rows.tolist():
        if parent:
            edges[last[parent], begin * _FRAME + label] = True
    return edges


def _named(edges: Edges, matches: Sequence[Mapping[int, int]]) -> Edges:
    """Return the edges between objects that cover exactly one true object, by the numbers of the true ones."""
    true = {frame * _FRAME + found: frame * _FRAME + one for frame, by in enumerate(matches) for found, one in by.items()}
    return {(true[a], true[b]): kind for (a, b), kind in edges.items() if a in true and b in true}
