"""The best lineage in hindsight: the same masks, prices and hypotheses, solved for the whole movie at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from benchmarks.followers import Lineage
from models.divide.evidence import Mothers
from models.track.assignment import AssignmentTracker, Linked
from models.track.links import MISS
from models.track.measure import Bodies
from models.track.memory import Rows
from models.track.splits import Weighed
from stream.stages import Segmented, Tracked

ALONE = MISS / 2
"""Price of a cell that comes from nowhere, and of one that goes nowhere."""
PER_LOGIT = 2.0
"""What a division's logit is worth; one of even odds costs as much as a good link and a cell from nowhere."""

Node = tuple[int, int]
"""A cell: frame (counted from 0) and label in the masks that went out."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the causal tracker weighed in one frame: links and divisions, by track before and by cell after."""

    linked: Linked
    track: NDArray[np.int64]
    weighed: Weighed


@dataclass(slots=True)
class Problem:
    """Links ``(from, to)`` with their prices, divisions ``(mother, daughter, daughter)`` with theirs."""

    nodes: list[Node] = field(default_factory=list)
    links: dict[tuple[Node, Node], float] = field(default_factory=dict)
    divisions: dict[tuple[Node, Node, Node], float] = field(default_factory=dict)


class Watched(AssignmentTracker):
    """The tracker, and what it weighed in its last step."""

    seen: Seen | None = None

    def _weigh(
        self, rows: Rows, mothers: Mothers, linked: Linked, stray: NDArray[np.bool_], within: NDArray[np.bool_]
    ) -> Weighed:
        weighed = super()._weigh(rows, mothers, linked, stray, within)
        self.seen = Seen(linked, rows["id"].copy(), weighed)
        return weighed


def in_hindsight(shots: Sequence[Segmented]) -> tuple[list[Tracked], Lineage]:
    """Return the masks of the causal tracker, and the cheapest lineage of their cells over the whole movie."""
    tracker, problem, shown = Watched({}), Problem(), []
    last: dict[int, Node] = {}
    for number, shot in enumerate(shots):
        tracked = tracker.step(shot)
        assert tracker.seen is not None
        _pose(problem, tracker.seen, tracked, number, last)
        labels = tracked.segmentation.cells.label.tolist()
        problem.nodes += [(number, label) for label in labels]
        last.update({label: (number, label) for label in labels})
        shown.append(tracked)
    return shown, _lineage(problem, *_solve(problem), shown)


def _pose(problem: Problem, seen: Seen, tracked: Tracked, number: int, last: dict[int, Node]) -> None:
    """Add a frame's links and divisions to the problem."""
    assert isinstance(tracked.measured, Bodies)
    centres = tracked.measured.centre_px
    label_at = dict(zip(map(tuple, centres.tolist()), tracked.segmentation.cells.label.tolist(), strict=True))
    # 0: a cell that was left out, because it is not yet far enough in the image
    to = [(number, label_at.get(tuple(place), 0)) for place in seen.linked.found.centre_px.tolist()]
    made = seen.linked.links
    for row, column, cost in zip(made.row.tolist(), made.column.tolist(), made.cost.tolist(), strict=True):
        start = last.get(int(seen.track[row]))
        if start is not None and to[column][1] and cost < MISS:
            key = (start, to[column])
            problem.links[key] = min(cost, problem.links.get(key, np.inf))
    of = seen.weighed
    for row, one, two, p in zip(of.row.tolist(), of.one, of.two, of.p.tolist(), strict=True):
        start = last.get(int(seen.track[row]))
        shown = to[int(one)][1] and to[int(two)][1]
        if start is not None and shown and p > 0.05 and start[0] == number - 1:
            odds = float(np.log(p) - np.log1p(-min(p, 1 - 1e-6)))
            problem.divisions[start, to[int(one)], to[int(two)]] = ALONE + 1.0 - PER_LOGIT * odds


def _solve(problem: Problem) -> tuple[list[tuple[Node, Node]], list[tuple[Node, Node, Node]]]:
    """Choose links and divisions so that every cell has at most one past and one future."""
    place = {node: i for i, node in enumerate(problem.nodes)}
    n, links, divisions = len(place), list(problem.links), list(problem.divisions)
    rows, columns = [], []
    for k, (a, b) in enumerate(links):
        rows += [place[a], n + place[b]]
        columns += [k, k]
    for k, (mother, one, two) in enumerate(divisions, start=len(links)):
        rows += [place[mother], n + place[one], n + place[two]]
        columns += [k, k, k]
    gain = [problem.links[one] - 2 * ALONE for one in links]
    gain += [problem.divisions[one] - 3 * ALONE for one in divisions]
    matrix = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(2 * n, len(gain)))
    rules = LinearConstraint(matrix, -np.inf, 1)
    # all but a few come out whole without being asked to; only those few are then decided one by one
    loose = milp(np.array(gain), bounds=Bounds(0, 1), constraints=rules).x
    whole = np.abs(loose - np.round(loose)) < 1e-6
    bounds = Bounds(np.where(whole, np.round(loose), 0), np.where(whole, np.round(loose), 1))
    found = milp(np.array(gain), integrality=~whole, bounds=bounds, constraints=rules)
    taken = found.x > 0.5
    return [one for one, yes in zip(links, taken, strict=False) if yes], [
        one for one, yes in zip(divisions, taken[len(links) :], strict=True) if yes
    ]


def _lineage(
    problem: Problem,
    links: list[tuple[Node, Node]],
    divisions: list[tuple[Node, Node, Node]],
    shown: Sequence[Tracked],
) -> Lineage:
    before = {b: a for a, b in links}
    mother_of = {one: mother for mother, *pair in divisions for one in pair}
    id_of: dict[Node, int] = {}
    parent: dict[int, int] = {}
    by_frame: dict[int, list[int]] = defaultdict(list)
    next_id = 0
    for node in problem.nodes:  # in the order of time
        if node in before:
            id_of[node] = id_of[before[node]]
        else:
            next_id += 1
            id_of[node] = next_id
        if node in mother_of:
            parent[id_of[node]] = id_of[mother_of[node]]
        by_frame[node[0]].append(id_of[node])
    return Lineage([np.array(by_frame[number], np.int64) for number in range(len(shown))], parent)
