"""From a network's outputs to cells, without a watershed.

Every foreground pixel votes for the centre of its cell; peaks of the seed plane collect the votes. Votes are counted at
half the resolution, where the offsets are; outlines are drawn at the full one. The idea of votes for a centre is from
Neven et al., "Instance segmentation by jointly optimizing spatial embeddings and clustering bandwidth" (2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.compiled import compiled
from models.segment import pieces, votes
from models.segment.cores import core_means, core_places
from models.segment.measure import Doubles
from stream.cells import Floats, Ints, Kind
from stream.errors import StageError

SEED_SHARE = 0.12
"""Width (sigma) of a seed's bump in training, as a share of the cells' diameter."""


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """How votes become cells. Lengths are shares of ``object_px``, areas of the disc of that diameter.

    Parameters
    ----------
    object_px
        Median diameter of the cells in the network's input.
    foreground, seed
        Probabilities from which a pixel belongs to a cell and a peak may be a centre.
    dim, share
        What stands for ``foreground`` in a dim cell: this share of its mean probability, but at least ``dim``.
    near
        Peaks that name centres nearer than this are one cell.
    reach
        A vote counts for the nearest seed within this.
    hops
        How often a vote that reaches none is passed on by the pixel where it lands.
    least_area
        The smallest cell.
    own_area
        From here on a patch that reached no seed, or a piece that came off its cell, is a cell of its own.
    hole_area
        The largest hole that is closed.
    trust
        Votes for a previous place that lie further than this from their mean count less than half.
    """

    object_px: float
    foreground: float = 0.3
    dim: float = 0.06
    share: float = 0.26
    seed: float = 0.35
    near: float = 0.25
    reach: float = 0.3
    hops: int = 3
    least_area: float = 0.12
    own_area: float = 0.25
    hole_area: float = 0.5
    trust: float = 0.15

    @classmethod
    def of(cls, kind: Kind, object_px: float) -> DecodeSettings:
        """Return the settings for a kind of picture; the defaults are for nuclei.

        Long cells in phase contrast name several centres before they divide, their votes fall short of them, and what
        comes off them is more often a halo than a cell.
        """
        if kind == "phase":
            return cls(object_px, share=0.25, near=0.35, reach=0.4, least_area=0.2, own_area=0.4)
        return cls(object_px)

    @property
    def area_px(self) -> float:
        """The area of the typical cell."""
        return np.pi / 4 * self.object_px**2


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The cells of one picture, numbered from 1 by the strength of their seeds.

    Parameters
    ----------
    labels : (y, x) int32
        Every label is one connected piece (8 neighbours).
    count
        n.
    centre_px : (n, 2) float32
        Centroid ``(y, x)``.
    previous_px : (n, 2) float32
        Where the cell, or its mother, was in the previous picture; NaN unknown.
    score, newborn, dividing : (n,) float32
        Probabilities; NaN where the network does not say.
    area_px : (n,) float32
    bbox_px : (n, 4) int32
        ``(y0, x0, y1, x1)``, the end excluded.
    """

    labels: Ints
    count: int
    centre_px: Floats
    previous_px: Floats
    score: Floats
    newborn: Floats
    dividing: Floats
    area_px: Floats
    bbox_px: Ints


def decode(
    foreground: Floats,
    maps: Floats,
    channels: Sequence[str],
    settings: DecodeSettings,
    outline: Floats | None = None,
    scale: tuple[float, float] = (1.0, 1.0),
) -> Decoded:
    """Find the cells in a network's outputs.

    Parameters
    ----------
    foreground : (y, x)
        Probabilities; even sides.
    maps : (c, y / 2, x / 2)
        The planes named by ``channels``.
    outline : (y', x'), optional
        The foreground of the picture that labels, centres and boxes are wanted for: of the input's upper left part,
        resampled. The default is ``foreground`` itself.
    scale
        Pixels of the input for one of ``outline``, along y and x.

    Raises
    ------
    StageError
        Sides do not fit, or a plane that is needed is missing.
    """
    maps, channels = _completed(maps, channels, settings)
    plane = _planes(foreground, maps, channels)
    foreground, maps = _plain(foreground), _plain(maps)
    shown = foreground if outline is None else _plain(outline)
    grid, count, limits = _grid(foreground, maps, plane, settings)
    if scale != (1.0, 1.0):
        grid = _grown(grid)
    labels, total, boxes, light = _drawn(grid, count, limits, shown, scale, settings)
    row_at, column_at = (_pixel_of(*side) for side in zip(grid.shape, scale, shown.shape, strict=True))
    seed, _, previous, newborn, dividing = plane
    states = np.array([newborn, dividing], np.int32)
    means, peak = core_means(labels, row_at, column_at, len(total), maps, seed, states)
    place = np.full((len(total), 2), np.nan)
    if previous >= 0:
        trust_px = settings.trust * settings.object_px
        place = core_places(labels, row_at, column_at, len(total), maps, seed, previous, trust_px)
    area = total[:, :1]
    return Decoded(
        labels,
        len(total),
        (total[:, 1:] / area).astype(np.float32),
        ((place + 0.5) / scale - 0.5).astype(np.float32),
        (peak * light / area[:, 0]).astype(np.float32),
        means[:, 0].astype(np.float32),
        means[:, 1].astype(np.float32),
        area[:, 0].astype(np.float32),
        boxes,
    )


def _completed(maps: Floats, channels: Sequence[str], settings: DecodeSettings) -> tuple[Floats, Sequence[str]]:
    """Make up for a head that was switched off: a Gaussian bump tells the offset by its slope, and the reverse."""
    names = list(channels)
    if "seed" not in names and "own_y" in names:
        own = maps[names.index("own_y") : names.index("own_y") + 2] / (SEED_SHARE * settings.object_px)
        return np.concatenate([maps, np.exp(-(own**2).sum(0, keepdims=True) / 2)]), [*names, "seed"]
    if "own_y" not in names and "seed" in names:
        bump = np.log(np.maximum(maps[names.index("seed")], 1e-4))
        uphill = np.stack(np.gradient(bump, 2.0)) * (SEED_SHARE * settings.object_px) ** 2
        most = settings.object_px / 2
        return np.concatenate([maps, np.clip(uphill, -most, most).astype(np.float32)]), [*names, "own_y", "own_x"]
    return maps, names


def _planes(foreground: Floats, maps: Floats, channels: Sequence[str]) -> tuple[int, int, int, int, int]:
    """Return where seed, own, previous, newborn and dividing lie in the maps; -1 where one is not predicted."""
    rows, columns = foreground.shape
    if rows % 2 or columns % 2 or maps.shape != (len(channels), rows // 2, columns // 2):
        raise StageError(f"a foreground of {foreground.shape} does not fit maps of {maps.shape} for {list(channels)}")
    names = ("seed", "own_y", "previous_y", "newborn", "dividing")
    seed, own, previous, newborn, dividing = (channels.index(n) if n in channels else -1 for n in names)
    if seed < 0 or own < 0:
        raise StageError(f"cells cannot be told apart without a plane 'seed' or 'own': only {list(channels)}")
    return seed, own, previous, newborn, dividing


def _plain(values: Floats) -> Floats:
    """Return a contiguous, read-only view: the one layout that is compiled in the warm-up."""
    plain = np.ascontiguousarray(values, np.float32).view()
    plain.flags.writeable = False
    return plain


def _grid(
    foreground: Floats, maps: Floats, plane: tuple[int, int, int, int, int], settings: DecodeSettings
) -> tuple[Ints, int, Floats]:
    """Label the blocks, count the labels, and say from which probability on a pixel is drawn in each."""
    block = settings.object_px / 2
    seed, own = plane[:2]
    inside = votes.blocks(foreground, settings.dim)
    centres, _ = votes.seeds(maps, seed, own, inside, settings.seed, settings.near * block)
    owner = votes.spread(centres, inside.shape[0], inside.shape[1], settings.reach * block)
    grid, lost = votes.assign(maps, own, inside, owner, settings.hops)
    count = votes.settle(grid, lost, len(centres), settings.own_area * settings.area_px / 4)
    edges = (settings.dim, settings.share, settings.foreground)
    return grid, count, votes.limits(grid, foreground, count, len(centres), *edges)


def _drawn(
    grid: Ints, count: int, limits: Floats, shown: Floats, scale: tuple[float, float], settings: DecodeSettings
) -> tuple[Ints, Doubles, Ints, Doubles]:
    """Draw the labelled blocks where the picture shows foreground; see :func:`models.segment.pieces.painted`."""
    row_of, column_of = (_block_of(*side) for side in zip(shown.shape, scale, grid.shape, strict=True))
    runs, first = pieces.runs_of(shown, limits, grid, row_of, column_of)
    piece, number = pieces.pieces_of(runs, first)
    disc_px = settings.area_px / (scale[0] * scale[1])
    least, own, hole = settings.least_area * disc_px, settings.own_area * disc_px, settings.hole_area * disc_px
    name, cells = pieces.names_of(runs, first, piece, number, count, max(least, 1.0), own, hole)
    return pieces.painted(runs, piece, name, cells, shown)


def _pixel_of(blocks: int, scale: float, pixels: int) -> Ints:
    """Return the pixel of the wanted picture in which the middle of each block lies, for the blocks that it shows."""
    at = ((2 * np.arange(blocks) + 1) / scale).astype(np.int32)
    return at[: max(int(np.searchsorted(at, pixels)), 1)]


def _block_of(pixels: int, scale: float, blocks: int) -> Ints:
    """Return the block in which the middle of each pixel of the wanted picture lies."""
    at = ((np.arange(pixels) + 0.5) * (scale / 2)).astype(np.int32)
    return np.minimum(at, blocks - 1)


@compiled
def _grown(grid: Ints) -> Ints:
    """Let labels grow by one block into the background: resampled outlines reach a little further than the blocks."""
    rows, columns = grid.shape
    out = grid.copy()
    for i in range(rows):
        for j in range(columns):
            if grid[i, j] == 0:
                for ni, nj in ((i - 1, j), (i, j - 1), (i, j + 1), (i + 1, j)):
                    if out[i, j] == 0 and 0 <= ni < rows and 0 <= nj < columns:
                        out[i, j] = grid[ni, nj]
    return out
