"""The lineage as a graph of spots: one node for each cell in each frame, one edge to where it was next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.ancestry import Tree, grow
from stream.export.recorded import Recorded, placed
from stream.facts.lineage import Spots

Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Nodes are the spots, in their order.

    Parameters
    ----------
    spots : (n,)
        By track and frame.
    tree
        The families of the tracks that have spots.
    edges : (m, 2) int64
        From, to, as places in ``spots``; from the earlier to the later.
    division : (m,) bool
        Whether the edge leads from a mother to a daughter.
    probability : (m,) float64
        The last word on that division; NaN for other edges, and where no event was said.
    left_out
        Tracks of which no place was recorded.
    """

    spots: Spots
    tree: Tree
    edges: Longs
    division: NDArray[np.bool_]
    probability: NDArray[np.float64]
    left_out: int

    def of_cells(self, name: str) -> Longs:
        """Return a whole number of each spot's cell (a field of :class:`stream.ancestry.Life`), ``(n,)``."""
        tracks, which = np.unique(self.spots["track"], return_inverse=True)
        values = [getattr(self.tree.lives[self.tree.cell_of[track]], name) for track in tracks.tolist()]
        return np.array(values, np.int64)[which]


def graph(found: Recorded) -> Graph:
    """Make the graph. Raises SourceError where no places were recorded."""
    history, spots, left_out = placed(found)
    tree = grow(history)
    tracks, begins, counts = np.unique(spots["track"], return_index=True, return_counts=True)
    place = dict(zip(tracks.tolist(), zip(begins.tolist(), (begins + counts - 1).tolist(), strict=True), strict=True))
    within = np.nonzero(np.diff(spots["track"]) == 0)[0]
    links = sorted(tree.parents.items())
    between = np.array([(place[parent][1], place[child][0]) for child, parent in links], np.int64).reshape(-1, 2)
    edges = np.concatenate([np.stack([within, within + 1], 1), between])
    division, probability = np.zeros(len(edges), bool), np.full(len(edges), np.nan)
    for at, (child, parent) in enumerate(links, len(within)):
        mother = tree.lives[tree.cell_of[parent]]
        if tree.cell_of[child] != mother.cell_id:
            division[at] = True
            known = mother.division_probability
            probability[at] = np.nan if known is None else known
    return Graph(spots, tree, edges, division, probability, left_out)
