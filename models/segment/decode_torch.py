"""The same cells as :mod:`models.segment.decode`, found on the device where the network's outputs lie.

Every step has a fixed cost and fixed shapes (no ``nonzero``, no ``item``, no mask that selects), so a CUDA graph can
hold it behind the network. Sums are taken in integers: the same outputs give the same cells, whatever the order in
which threads add. Loaded only where torch is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.segment.decode import Decoded, DecodeSettings
from models.segment.pieces_torch import adopted, components, totals
from models.segment.votes import FINE

MOST_PATCHES = 256
"""Cells that showed no seed, and pieces that came off their cell and are large enough to be one."""
SUPPRESSIONS = 16
"""Rounds in which peaks give way to stronger ones: exact where no chain of near peaks is longer."""
RINGS = 16
"""Blocks by which labels grow into patches whose votes reached no seed."""
_FAR = torch.iinfo(torch.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class DecodedTensors:
    """As :class:`models.segment.decode.Decoded`, on the device; rows of the table from ``count`` on mean nothing."""

    labels: Tensor
    count: Tensor
    centre_px: Tensor
    previous_px: Tensor
    score: Tensor
    newborn: Tensor
    dividing: Tensor
    area_px: Tensor
    bbox_px: Tensor

    def fetched(self) -> Decoded:
        """Copy everything to the host; not part of a graph."""
        n = int(self.count)
        table = (self.centre_px, self.previous_px, self.score, self.newborn, self.dividing, self.area_px, self.bbox_px)
        return Decoded(self.labels.cpu().numpy(), n, *(column[:n].cpu().numpy() for column in table))


def decode_torch(
    foreground: Tensor,
    maps: Tensor,
    channels: Sequence[str],
    settings: DecodeSettings,
    outline: Tensor | None = None,
    scale: tuple[float, float] = (1.0, 1.0),
    most_cells: int = 2048,
) -> DecodedTensors:
    """Find the cells in a network's outputs.

    Parameters
    ----------
    foreground, maps, channels, settings, outline, scale
        As for :func:`models.segment.decode.decode`, float32 tensors on one device.
    most_cells
        The strongest so many peaks are looked at; time and memory grow with its square.
    """
    plane = {name: i for i, name in enumerate(channels)}
    shown = foreground if outline is None else outline
    own = maps[plane["own_y"] : plane["own_y"] + 2].float()
    seed = maps[plane["seed"]].float().contiguous()
    lightest = torch.nn.functional.max_pool2d(foreground[None].float(), 2)[0]
    inside = lightest > settings.dim
    block = settings.object_px / 2
    centre, kept = _seeds(seed, own, inside, settings.seed, settings.near * block, most_cells)
    grid = _assigned(own, inside, _spread(centre, kept, inside.shape, settings.reach * block), settings.hops)
    grid = _settled(grid, inside, most_cells, settings.own_area * settings.area_px / 4)
    limits = _limits(grid, lightest, settings, most_cells)
    labels, count = _drawn(grid, limits, shown.float(), scale, settings, most_cells)
    return _described(labels, count, shown.float(), maps.float(), plane, seed, scale, settings, most_cells)


def _step(own: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Follow the offsets from places in blocks, as :func:`models.segment.votes._step`."""
    rows, columns = own.shape[1:]
    i, j = y.long(), x.long()
    at = i * columns + j
    there_y = i + 0.5 + 0.5 * own[0].flatten()[at]
    there_x = j + 0.5 + 0.5 * own[1].flatten()[at]
    return there_y.clamp(0, rows - 0.01), there_x.clamp(0, columns - 0.01)


def _seeds(
    seed: Tensor, own: Tensor, inside: Tensor, threshold: float, near: float, most: int
) -> tuple[Tensor, Tensor]:
    """Return centres ``(most, 2)`` in blocks, the strongest peak first, and which of them count."""
    rows, columns = seed.shape
    peak = torch.nn.functional.max_pool2d(seed[None], 3, stride=1, padding=1)[0] == seed
    peak &= inside & (seed > threshold)
    around = torch.nn.functional.pad(seed, (1, 1, 1, 1), value=-1.0)
    for earlier in (around[:-2, :-2], around[:-2, 1:-1], around[:-2, 2:], around[1:-1, :-2]):
        peak &= earlier != seed  # of a plateau the first block only
    at = torch.arange(rows * columns, device=seed.device)
    # the bits of a positive float32 sort like the number; the lower place wins a tie
    key = (seed.flatten().view(torch.int32).long() << 24) | (2**24 - 1 - at)
    key = torch.where(peak.flatten(), key, 0)
    best = torch.topk(torch.nn.functional.pad(key, (0, max(most - key.numel(), 0))), most).values
    valid = best > 0
    place = torch.where(valid, 2**24 - 1 - (best & (2**24 - 1)), 0)
    y, x = _step(own, place // columns + 0.5, place % columns + 0.5)
    centre = torch.stack([y, x], 1)
    apart = ((centre[:, None] - centre[None]) ** 2).sum(-1)
    order = torch.arange(most, device=seed.device)
    yields = (apart < near * near) & (order[:, None] > order[None])
    kept = valid
    for _ in range(SUPPRESSIONS):
        kept = valid & ~(yields & kept[None]).any(1)
    return centre, kept


def _spread(centre: Tensor, kept: Tensor, shape: torch.Size, reach: float) -> Tensor:
    """Return for each block the number (from 1) of the nearest centre within reach; 0: none."""
    rows, columns = shape
    span = torch.arange(-int(reach) - 1, int(reach) + 2, device=centre.device)
    i = (centre[:, 0].long()[:, None, None] + span[None, :, None]).expand(-1, len(span), len(span))
    j = (centre[:, 1].long()[:, None, None] + span[None, None, :]).expand(-1, len(span), len(span))
    away = (i + 0.5 - centre[:, 0, None, None]) ** 2 + (j + 0.5 - centre[:, 1, None, None]) ** 2
    counts = (away < reach * reach) & kept[:, None, None] & (i >= 0) & (i < rows) & (j >= 0) & (j < columns)
    number = torch.arange(1, len(centre) + 1, device=centre.device)[:, None, None]
    key = torch.where(counts, (away.contiguous().view(torch.int32).long() << 20) | number, _FAR)
    at = torch.where(counts, i * columns + j, rows * columns)
    nearest = torch.full((rows * columns + 1,), _FAR, device=centre.device)
    nearest.scatter_reduce_(0, at.flatten(), key.flatten(), "amin")
    return torch.where(nearest < _FAR, nearest & (2**20 - 1), 0)[:-1].view(rows, columns)


def _assigned(own: Tensor, inside: Tensor, owner: Tensor, hops: int) -> Tensor:
    """Return the seed that each block's vote reaches; 0 for the background and for votes that reach none."""
    rows, columns = inside.shape
    device = inside.device
    y = (torch.arange(rows, device=device) + 0.5)[:, None].expand(rows, columns)
    x = (torch.arange(columns, device=device) + 0.5)[None].expand(rows, columns)
    grid = torch.zeros_like(owner)
    for _ in range(hops + 1):
        y, x = _step(own, y, x)
        grid = torch.where(grid == 0, owner.flatten()[y.long() * columns + x.long()], grid)
    return torch.where(inside, grid, 0)


def _settled(grid: Tensor, inside: Tensor, most_cells: int, least: float) -> Tensor:
    """Find a cell for blocks whose votes reached no seed, as :func:`models.segment.votes.settle`."""
    lost = inside & (grid == 0)
    root = components(torch.where(lost, 1, 0), across=False)
    area = totals(root, lost.long(), root.numel())
    first = (root == torch.arange(root.numel(), device=root.device).view(root.shape)) & lost
    cell = first.flatten() & (area >= least)
    number = torch.where(cell, cell.cumsum(0), 0).clamp(max=MOST_PATCHES)
    patch = number[root]
    grid = torch.where(lost & (patch > 0), most_cells + patch, grid)
    for _ in range(RINGS):
        around = torch.nn.functional.pad(grid, (1, 1, 1, 1))
        found = torch.zeros_like(grid)
        for beside in (around[:-2, 1:-1], around[1:-1, :-2], around[1:-1, 2:], around[2:, 1:-1]):
            found = torch.where(found == 0, beside, found)
        grid = torch.where(lost & (grid == 0), found, grid)
    return grid


def _limits(grid: Tensor, lightest: Tensor, settings: DecodeSettings, most_cells: int) -> Tensor:
    """Return from which probability on a pixel belongs to each label, as :func:`models.segment.votes.limits`."""
    n = most_cells + MOST_PATCHES + 1
    light = (lightest * FINE).long()
    total = totals(grid, light * light, n)
    mean = total.double() / (totals(grid, light, n).clamp(min=1) * FINE)
    seeded = torch.arange(n, device=grid.device) <= most_cells
    limit = (settings.share * mean).clamp(settings.dim, settings.foreground)
    return torch.where(seeded, limit, settings.foreground).float()


def _drawn(
    grid: Tensor, limits: Tensor, shown: Tensor, scale: tuple[float, float], settings: DecodeSettings, most_cells: int
) -> tuple[Tensor, Tensor]:
    """Draw the labelled blocks where the picture shows foreground, tidy up and number the cells."""
    if scale != (1.0, 1.0):
        around = torch.nn.functional.pad(grid, (1, 1, 1, 1))
        for beside in (around[:-2, 1:-1], around[1:-1, :-2], around[1:-1, 2:], around[2:, 1:-1]):
            grid = torch.where(grid == 0, beside, grid)
    at = [
        ((torch.arange(pixels, device=grid.device) + 0.5).double() * (zoom / 2)).long().clamp(max=blocks - 1)
        for pixels, zoom, blocks in zip(shown.shape, scale, grid.shape, strict=True)
    ]
    labels = grid[at[0]][:, at[1]]
    labels = torch.where(shown > limits[labels], labels, 0)
    disc_px = settings.area_px / (scale[0] * scale[1])
    sizes = (max(settings.least_area * disc_px, 1.0), settings.own_area * disc_px, settings.hole_area * disc_px)
    return adopted(labels, most_cells + MOST_PATCHES, MOST_PATCHES, *sizes)


def _described(
    labels: Tensor, count: Tensor, shown: Tensor, maps: Tensor, plane: dict[str, int], seed: Tensor,
    scale: tuple[float, float], settings: DecodeSettings, most_cells: int,
) -> DecodedTensors:  # fmt: skip
    """Fill the table; sums are over fixed-point numbers."""
    rows, columns = labels.shape
    n = most_cells + 2 * MOST_PATCHES + 1
    device = labels.device
    y = torch.arange(rows, device=device)[:, None].expand(rows, columns)
    x = torch.arange(columns, device=device)[None].expand(rows, columns)
    area = totals(labels, torch.ones_like(labels), n)[1:]
    safe = area.clamp(min=1)
    centre = torch.stack([totals(labels, v, n)[1:] / safe for v in (y, x)], 1)
    boxes = torch.stack([*_extremes(labels, y, x, n, "amin"), *(v + 1 for v in _extremes(labels, y, x, n, "amax"))], 1)
    light = _sum(labels, shown, n)[1:] / safe
    i, j = (_pixel_of(*side, device) for side in zip(seed.shape, scale, labels.shape, strict=True))
    name, seed = labels[i][:, j], seed[: len(i), : len(j)].contiguous()
    weight = seed + 1e-3
    total = _sum(name, weight, n)[1:]
    peak = torch.zeros(n, device=device).scatter_reduce_(0, name.flatten(), seed.flatten(), "amax")[1:]
    unknown = torch.full((n - 1,), float("nan"), device=device)

    def mean(channel: str) -> Tensor:
        if channel not in plane:
            return unknown
        return (_sum(name, weight * maps[plane[channel], : len(i), : len(j)], n)[1:] / total).float()

    previous = torch.stack([unknown, unknown], 1)
    if "previous_y" in plane:
        previous = _place(name, weight, maps[plane["previous_y"] :][:2, : len(i), : len(j)], n, settings)
        zoom = torch.tensor(scale, device=device)
        previous = (previous + 0.5) / zoom - 0.5
    return DecodedTensors(
        labels.int(), count.int(), centre.float(), previous.float(), (peak * light).float(), mean("newborn"),
        mean("dividing"), area.float(), boxes[1:].int(),
    )  # fmt: skip


def _place(name: Tensor, weight: Tensor, offset: Tensor, n: int, settings: DecodeSettings) -> Tensor:
    """Return where each cell's offsets point, as :func:`models.segment.cores.core_places`."""
    rows, columns = name.shape
    y = 2 * torch.arange(rows, device=name.device)[:, None] + 0.5 + offset[0]
    x = 2 * torch.arange(columns, device=name.device)[None] + 0.5 + offset[1]
    place = torch.zeros((n, 2), dtype=torch.float64, device=name.device)
    trust_px = settings.trust * settings.object_px
    for again in range(2):
        w = weight
        if again:
            there = place[name]
            w = weight / (1 + ((y - there[..., 0]) ** 2 + (x - there[..., 1]) ** 2) / trust_px**2)
        total = _sum(name, w, n)
        place = torch.stack([_sum(name, w * v, n) / total for v in (y, x)], 1)
    return place[1:]


def _extremes(index: Tensor, y: Tensor, x: Tensor, n: int, way: str) -> list[Tensor]:
    """Return the lowest or highest y and x of each index; 0 where there is none."""
    none = torch.zeros(n, dtype=torch.int64, device=index.device)
    at = index.flatten()
    return [none.scatter_reduce(0, at, v.flatten(), way, include_self=False) for v in (y, x)]


def _sum(index: Tensor, values: Tensor, n: int) -> Tensor:
    """Sum values by index in steps of 2**-24."""
    return totals(index, (values.double() * 2**24).round().long(), n) / 2**24


def _pixel_of(blocks: int, scale: float, pixels: int, device: torch.device) -> Tensor:
    """Return the pixel in which the middle of each block lies, for the blocks that the picture shows."""
    at = ((2 * np.arange(blocks) + 1) / scale).astype(np.int64)
    shown = max(int(np.searchsorted(at, pixels)), 1)
    return ((2 * torch.arange(shown, device=device) + 1).double() / scale).long()
