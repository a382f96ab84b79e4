"""The same cells as :mod:`models.segment.decode`, found on the device where the network's outputs lie.

Every step has a fixed cost and fixed shapes (no ``nonzero``, no ``item``, no mask that selects), so a CUDA graph can
hold it behind the network, and nothing is copied from the host. Sums are taken in integers: the same outputs give the
same cells, whatever the order in which threads add. Loaded only where torch is.

What is fixed needs a limit: there is room for so many peaks, and for as many cells without a seed and pieces that came
off. What finds none is counted on the device, and :meth:`DecodedTensors.fetched` refuses the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
import torch
from torch import Tensor

from models.segment.decode import SEED_SHARE, Decoded, DecodeSettings
from models.segment.pieces_torch import adopted, extremes, settled, sums, totals
from models.segment.votes import FINE
from stream.errors import StageError

LEAST_ROOM = 256
"""Room for cells in the smallest picture."""
SUPPRESSIONS = 16
"""Rounds in which peaks give way to stronger ones: exact where no chain of near peaks is longer."""
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
    overflow: Tensor
    """Peaks, cells without a seed and pieces for which there was no room."""
    most_cells: int

    def fetched(self) -> Decoded:
        """Copy everything to the host; not part of a graph. Raises StageError where there was no room for a cell."""
        left_out, n = int(self.overflow), int(self.count)
        if left_out:
            raise StageError(
                f"{left_out} peaks or pieces found no room among {self.most_cells}, so cells are missing: pass a "
                "larger most_cells, or look at the picture at another size"
            )
        table = (self.centre_px, self.previous_px, self.score, self.newborn, self.dividing, self.area_px, self.bbox_px)
        return Decoded(self.labels.cpu().numpy(), n, *(column[:n].cpu().numpy() for column in table))


def decode_torch(
    foreground: Tensor,
    maps: Tensor,
    channels: Sequence[str],
    settings: DecodeSettings,
    outline: Tensor | None = None,
    scale: tuple[float, float] = (1.0, 1.0),
    most_cells: int | None = None,
) -> DecodedTensors:
    """Find the cells in a network's outputs.

    Parameters
    ----------
    foreground, maps, channels, settings, outline, scale
        As for :func:`models.segment.decode.decode`, float32 tensors on one device.
    most_cells
        The strongest so many peaks are looked at; time and memory grow with its square. None: see :func:`room_for`.

    Raises
    ------
    StageError
        Sides do not fit, or a plane that is needed is missing.
    """
    most_cells = room_for(foreground.shape, settings) if most_cells is None else most_cells
    maps, channels = _completed(_fitting(foreground, maps, channels), channels, settings)
    plane = {name: i for i, name in enumerate(channels)}
    shown = foreground if outline is None else outline
    own = maps[plane["own_y"] : plane["own_y"] + 2]
    seed = maps[plane["seed"]].contiguous()
    lightest = torch.nn.functional.max_pool2d(foreground[None].float(), 2)[0]
    inside = lightest > settings.dim
    block = settings.object_px / 2
    centre, kept, peaks_over = _seeds(seed, own, inside, settings.seed, settings.near * block, most_cells)
    grid = _assigned(own, inside, _spread(centre, kept, inside.shape, settings.reach * block), settings.hops)
    grid, patches_over = settled(grid, inside, most_cells, settings.own_area * settings.area_px / 4)
    limits = _limits(grid, lightest, settings, most_cells)
    labels, count, pieces_over = _drawn(grid, limits, shown.float(), scale, settings, most_cells)
    over = peaks_over + patches_over + pieces_over
    return _described(labels, count, over, shown.float(), maps, plane, seed, scale, settings, most_cells)


def room_for(shape: Sequence[int], settings: DecodeSettings) -> int:
    """Return for how many cells there is room in a picture: one for each disc of the typical diameter.

    Discs of that size cannot lie closer. Cells of 26 px: 494 at 512², 1,975 at 1024², 7,900 at 2048², where comparing
    peaks with each other takes 0.5 GB for a moment.
    """
    return max(LEAST_ROOM, ceil(shape[0] * shape[1] / settings.area_px))


def _fitting(foreground: Tensor, maps: Tensor, channels: Sequence[str]) -> Tensor:
    """Return float32 maps. Raises StageError where they do not fit the foreground or their names."""
    rows, columns = foreground.shape
    if rows % 2 or columns % 2 or maps.shape != (len(channels), rows // 2, columns // 2):
        raise StageError(
            f"a foreground of {tuple(foreground.shape)} does not fit maps of {tuple(maps.shape)} for {list(channels)}"
        )
    return maps.float()


def _completed(maps: Tensor, channels: Sequence[str], settings: DecodeSettings) -> tuple[Tensor, Sequence[str]]:
    """Make up for a head that was switched off, as :func:`models.segment.decode.decode` does."""
    names = list(channels)
    if "seed" not in names and "own_y" not in names:
        raise StageError(f"cells cannot be told apart without a plane 'seed' or 'own': only {names}")
    if "seed" not in names:
        own = maps[names.index("own_y") :][:2] / (SEED_SHARE * settings.object_px)
        return torch.cat([maps, torch.exp(-(own**2).sum(0, keepdim=True) / 2)]), [*names, "seed"]
    if "own_y" not in names:
        bump = maps[names.index("seed")].clamp(min=1e-4).log()
        uphill = torch.stack(torch.gradient(bump, spacing=2.0)) * (SEED_SHARE * settings.object_px) ** 2
        most = settings.object_px / 2
        return torch.cat([maps, uphill.clamp(-most, most)]), [*names, "own_y", "own_x"]
    return maps, names


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
) -> tuple[Tensor, Tensor, Tensor]:
    """Return centres ``(most, 2)`` in blocks, the strongest peak first, which count, and peaks beyond ``most``.

    Peaks give way to stronger ones in two steps: what names the same centre (see :func:`_thinned`) at a cost that grows
    with the picture alone, the rest each against each.
    """
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
    key = _thinned(
        key, *_step(own, at // columns + 0.5, at % columns + 0.5), max(near / sqrt(8), 0.25), (rows, columns)
    )
    best = torch.topk(torch.nn.functional.pad(key, (0, max(most - key.numel(), 0))), most).values
    valid = best > 0
    place = torch.where(valid, 2**24 - 1 - (best & (2**24 - 1)), 0)
    y, x = _step(own, place // columns + 0.5, place % columns + 0.5)
    centre = torch.stack([y, x], 1)
    apart = (y[:, None] - y[None]).square_().add_((x[:, None] - x[None]).square_())
    order = torch.arange(most, device=seed.device)
    yields = (apart < near * near) & (order[:, None] > order[None])
    kept = valid
    for _ in range(SUPPRESSIONS):
        kept = valid & ~(yields & kept[None]).any(1)
    return centre, kept, ((key > 0).sum() - most).clamp(min=0)


def _thinned(key: Tensor, y: Tensor, x: Tensor, side: float, shape: tuple[int, int]) -> Tensor:
    """Leave of the peaks that name a centre in one square of ``side`` blocks the strongest; 0: no peak.

    Done twice, with the squares moved by half: of 2.6 peaks for each cell, where ``nuclei-fast`` repeats values, 1.03
    stay. What goes names a centre within ``side * sqrt(8)`` of a stronger peak's that stays.
    """
    down, across = (ceil(blocks / side) + 2 for blocks in shape)
    for moved in (0.0, 0.5):
        square = (y / side + moved).long() * across + (x / side + moved).long()
        best = torch.zeros(down * across, dtype=torch.int64, device=key.device)
        best.scatter_reduce_(0, square, key, "amax")
        key = torch.where(key == best[square], key, 0)
    return key


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


def _limits(grid: Tensor, lightest: Tensor, settings: DecodeSettings, most_cells: int) -> Tensor:
    """Return from which probability on a pixel belongs to each label, as :func:`models.segment.votes.limits`."""
    n = 2 * most_cells + 1
    light = (lightest * FINE).long()
    total = totals(grid, light * light, n)
    mean = total.double() / (totals(grid, light, n).clamp(min=1) * FINE)
    seeded = torch.arange(n, device=grid.device) <= most_cells
    limit = (settings.share * mean).clamp(settings.dim, settings.foreground)
    return torch.where(seeded, limit, settings.foreground).float()


def _drawn(
    grid: Tensor, limits: Tensor, shown: Tensor, scale: tuple[float, float], settings: DecodeSettings, most_cells: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the labelled blocks where the picture shows foreground, tidy up and number the cells.

    Returns
    -------
    labels, count, overflow
        See :func:`models.segment.pieces_torch.adopted`.
    """
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
    return adopted(labels, 2 * most_cells, most_cells, *sizes)


def _described(
    labels: Tensor, count: Tensor, overflow: Tensor, shown: Tensor, maps: Tensor, plane: dict[str, int],
    seed: Tensor, scale: tuple[float, float], settings: DecodeSettings, most_cells: int,
) -> DecodedTensors:  # fmt: skip
    """Fill the table; sums are over fixed-point numbers."""
    rows, columns = labels.shape
    n = 3 * most_cells + 1
    device = labels.device
    y = torch.arange(rows, device=device)[:, None].expand(rows, columns)
    x = torch.arange(columns, device=device)[None].expand(rows, columns)
    area = totals(labels, torch.ones_like(labels), n)[1:]
    safe = area.clamp(min=1)
    centre = torch.stack([totals(labels, v, n)[1:] / safe for v in (y, x)], 1)
    boxes = torch.stack([*extremes(labels, y, x, n, "amin"), *(v + 1 for v in extremes(labels, y, x, n, "amax"))], 1)
    light = sums(labels, shown, n)[1:] / safe
    i, j = (_pixel_of(*side, device) for side in zip(seed.shape, scale, labels.shape, strict=True))
    name, seed = labels[i][:, j], seed[: len(i), : len(j)].contiguous()
    weight = seed + 1e-3
    total = sums(name, weight, n)[1:]
    peak = torch.zeros(n, device=device).scatter_reduce_(0, name.flatten(), seed.flatten(), "amax")[1:]
    unknown = torch.full((n - 1,), float("nan"), device=device)

    def mean(channel: str) -> Tensor:
        if channel not in plane:
            return unknown
        return (sums(name, weight * maps[plane[channel], : len(i), : len(j)], n)[1:] / total).float()

    previous = torch.stack([unknown, unknown], 1)
    if "previous_y" in plane:
        previous = _place(name, weight, maps[plane["previous_y"] :][:2, : len(i), : len(j)], n, settings)
        previous = torch.stack([(previous[:, axis] + 0.5) / zoom - 0.5 for axis, zoom in enumerate(scale)], 1)
    return DecodedTensors(
        labels.int(), count.int(), centre.float(), previous.float(), (peak * light).float(), mean("newborn"),
        mean("dividing"), area.float(), boxes[1:].int(), overflow, most_cells,
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
        total = sums(name, w, n)
        place = torch.stack([sums(name, w * v, n) / total for v in (y, x)], 1)
    return place[1:]


def _pixel_of(blocks: int, scale: float, pixels: int, device: torch.device) -> Tensor:
    """Return the pixel in which the middle of each block lies, for the blocks that the picture shows."""
    at = ((2 * np.arange(blocks) + 1) / scale).astype(np.int64)
    shown = max(int(np.searchsorted(at, pixels)), 1)
    return ((2 * torch.arange(shown, device=device) + 1).double() / scale).long()
