"""A culture without end: cells wander, divide and die, and say what a network says of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from models.compiled import compiled
from stream.cells import Segmentation, make_cells
from stream.frame import Frame
from stream.stages import Moment, Segmented

Floats = NDArray[np.float64]

RATE = 0.002
"""Part of the cells that divide in every frame; as many die, so that their number stays."""
SISTERS = 25
"""Frames for which a sister lives; the other one lives on."""
YOUNG, SOON = 3, 2
"""Frames after a split in which cells look new, and before it in which they look like dividing."""
MISSED = 0.005
"""Part of the cells that nobody finds in a frame."""
VOTE_ERROR = 0.08
"""Usual error of a vote, in diameters."""
GROWN, SMALL = 0.3, 0.24
"""Radius of a cell and of a young one, in pitches: the side of the square that each has for itself."""
APART = 0.8
"""How near cells may live, in pitches."""
LONG_AGO = 10**6


class Culture:
    """Cells about their places, a pair of sisters where one divided; :meth:`shoot` is the next frame.

    Parameters
    ----------
    count, side
        How many cells, about, live in an image of ``side`` px.
    margin_px
        How far the culture goes on outside the image.
    """

    def __init__(self, count: int, side: int, margin_px: float = 0.0) -> None:
        self._rng = np.random.default_rng(count)
        self.side, self.pitch = side, side / np.sqrt(count)
        n = round(count * (1 + 2 * margin_px / side) ** 2)
        self._home = scattered(n, -margin_px, side + margin_px, APART * self.pitch, self._rng)
        self._away, self._axis = np.zeros((n, 2)), np.zeros((n, 2))
        self._since, self._due = np.full(n, LONG_AGO), self._rng.geometric(RATE, n) + SOON
        self._light = self._rng.normal(200.0, 20.0, n)
        self._before, self._shown = np.full((n, 2, 2), np.nan), np.zeros((0, 2))
        self._ground = self._rng.normal(100.0, 4.0, (side, side)).astype(np.uint16)
        self._frame = -1
        self.names = np.zeros(0, np.int64)
        """Which cell each row of the last shot is."""

    @property
    def diameter_px(self) -> float:
        """The diameter of a cell that is not young."""
        return 2 * GROWN * float(self.pitch)

    def shoot(self, jump_px: tuple[float, float] = (0.0, 0.0)) -> Segmented:
        """Return the next frame; ``jump_px`` moves everything, as a stage does that does not say so."""
        self._age()
        self._home = self._home + jump_px
        places = self._places()
        is_sister, slot = np.nonzero((np.arange(2)[:, None] == 0) | (self._since < SISTERS))
        centre, before = places[slot, is_sister], self._before[slot, is_sister]
        seen = ((centre >= 0) & (centre < self.side)).all(axis=1) & (self._rng.random(len(slot)) > MISSED)
        self._before = places
        slot, centre, self.names = slot[seen], centre[seen], 2 * slot[seen] + is_sister[seen]
        votes = self._nearest(centre) if any(jump_px) else before[seen]
        self._shown = centre
        votes = votes + self._rng.normal(0, VOTE_ERROR * self.diameter_px, votes.shape)
        return self._drawn(slot, centre, votes)

    def _age(self) -> None:
        """Let every cell wander, split where it is time, and end the pairs whose time is over."""
        self._frame += 1
        self._away = 0.8 * self._away + self._rng.normal(0, self.pitch / 30, self._away.shape)
        self._since += 1
        splits = np.flatnonzero(self._due == self._frame)
        angle = self._rng.uniform(0, 2 * np.pi, len(splits))
        self._axis[splits] = np.stack([np.sin(angle), np.cos(angle)], axis=1)
        self._since[splits] = 0
        self._due[splits] += 2 * SISTERS + self._rng.geometric(RATE, len(splits))
        self._before[splits, 1] = self._before[splits, 0]

    def _places(self) -> Floats:
        """Return the places of both sisters ``(n, 2, 2)``; one that lives alone comes back to the middle."""
        alone = np.clip(1 - (self._since - SISTERS) / 10, 0, 1)
        apart = np.where(self._since < SISTERS, np.clip(0.8 + 0.1 * self._since, 0, 1), alone)
        aside = GROWN * self.pitch * apart[:, None] * self._axis
        middle = self._home + self._away
        return np.stack([middle + aside, middle - aside], axis=1)

    def _nearest(self, centre: Floats) -> Floats:
        """Return what a network says that was not told of a jump: the nearest that it sees in the image before."""
        away, which = cKDTree(self._shown).query(centre)
        return np.where(away[:, None] < 1.5 * self.diameter_px, self._shown[which], np.nan)

    def _drawn(self, slot: NDArray[np.int64], centre: Floats, votes: Floats) -> Segmented:
        soon = self._due[slot] - self._frame <= SOON
        young = self._since[slot] < YOUNG
        radius = np.where(self._since[slot] < SISTERS, SMALL, GROWN) * self.pitch
        light = self._light[slot] * np.where(soon, 1.3, 1.0)
        labels, pixels = np.zeros((self.side, self.side), np.int32), self._ground.copy()
        _paint(labels, pixels, centre, radius, light)
        area, middle, box = _measured(labels, len(slot))
        kept = np.flatnonzero(area > 0)
        self.names = self.names[kept]
        likely = self._rng.uniform(0.0, 0.06, (len(slot), 2)) + np.where(np.stack([soon, young], axis=1), 0.9, 0.0)
        states = np.stack([1 - likely.max(axis=1), *likely.T, np.full(len(slot), np.nan)], axis=1)
        columns = (middle, area, 100.0 + light[:, None], states, votes, likely[:, ::-1])
        centroid, size, counts, prob, before, heads = (one[kept].astype(np.float32) for one in columns)
        label, bbox = (one.astype(np.int32) for one in (kept + 1, box[kept]))
        cells = make_cells(label, centroid, bbox, size, counts, state_prob=prob, prev_centre_px=before, features=heads)
        n = self._frame
        frame = Frame(run="b", camera="c", session="s", epoch=0, seq=n, field="c:p0", frame=n, pixels=pixels)
        return Segmented(Moment(frame, elapsed_s=float(n)), Segmentation(labels, cells))


def scattered(count: int, low: float, high: float, apart: float, rng: np.random.Generator) -> Floats:
    """Return places ``(count, 2)`` without order in a square, pushed away from each other until hardly any are near."""
    places = rng.uniform(low, high, (count, 2))
    for _ in range(60):
        one, two = cKDTree(places).query_pairs(apart, output_type="ndarray").T
        way = places[two] - places[one]
        away = np.hypot(*way.T)[:, None]
        push = 0.4 * (apart - away) * way / np.maximum(away, 1e-6)
        np.subtract.at(places, one, push)
        np.add.at(places, two, push)
        places = np.clip(places, low, high)
    return places


@compiled
def _paint(
    labels: NDArray[np.int32], pixels: NDArray[np.uint16], centre: Floats, radius: Floats, light: Floats
) -> None:
    """Draw discs; later ones lie on top, and add their light to the ground."""
    height, width = labels.shape
    for i in range(len(centre)):
        (y, x), r = centre[i], radius[i]
        for row in range(max(0, int(np.ceil(y - r))), min(height, int(y + r) + 1)):
            half = np.sqrt(max(0.0, r * r - (row - y) ** 2))
            for column in range(max(0, int(np.ceil(x - half))), min(width, int(x + half) + 1)):
                if labels[row, column] == 0:
                    pixels[row, column] += np.uint16(light[i])
                labels[row, column] = i + 1


@compiled
def _measured(labels: NDArray[np.int32], count: int) -> tuple[Floats, Floats, Floats]:
    """Return area ``(n,)``, centroid ``(n, 2)`` and box ``(n, 4)`` of labels 1 to ``count``; area 0: it is covered."""
    area, centre, box = np.zeros(count), np.zeros((count, 2)), np.zeros((count, 4))
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            i = labels[y, x] - 1
            if i < 0:
                continue
            if area[i] == 0:
                box[i, 0], box[i, 1] = y, x
            area[i] += 1
            centre[i, 0] += y
            centre[i, 1] += x
            box[i, 1], box[i, 2], box[i, 3] = min(box[i, 1], x), y + 1, max(box[i, 3], x + 1)
    for i in range(count):
        if area[i] > 0:
            centre[i] /= area[i]
    return area, centre, box
