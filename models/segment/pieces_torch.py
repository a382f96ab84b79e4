"""Connected pieces of label images on a device, at a fixed cost: see :mod:`models.segment.pieces` for the rules."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 14
"""Of hooking and jumping; the number of steps to the root halves in each, or better."""
RINGS = 16
"""Blocks by which labels grow into patches whose votes reached no seed."""
_FAR = torch.iinfo(torch.int64).max


def totals(index: Tensor, values: Tensor, n: int) -> Tensor:
    """Return the sum of integer values for each index, ``(n,)`` int64."""
    total = torch.zeros(n, dtype=torch.int64, device=index.device)
    return total.scatter_add_(0, index.flatten(), values.flatten().long())


def sums(index: Tensor, values: Tensor, n: int) -> Tensor:
    """Sum values by index in steps of 2**-24."""
    return totals(index, (values.double() * 2**24).round().long(), n) / 2**24


def extremes(index: Tensor, y: Tensor, x: Tensor, n: int, way: str) -> list[Tensor]:
    """Return the lowest or highest y and x of each index; 0 where there is none."""
    none = torch.zeros(n, dtype=torch.int64, device=index.device)
    at = index.flatten()
    return [none.scatter_reduce(0, at, v.flatten(), way, include_self=False) for v in (y, x)]


def components(labels: Tensor, across: bool = True) -> Tensor:
    """Return for each pixel the flat index of its piece's first pixel; the pieces of 0 join over edges only.

    Hooking and pointer jumping after Zhang, Azad and Hu, "FastSV" (2020).

    Parameters
    ----------
    labels : (y, x) int64
    across
        Whether pieces of a label join over corners.
    """
    rows, columns = labels.shape
    at = torch.arange(rows * columns, device=labels.device).view(rows, columns)
    steps = [(0, 1), (1, 0), (1, 1), (1, -1)] if across else [(0, 1), (1, 0)]
    joined = [(_pair(labels, dy, dx), dy, dx) for dy, dx in steps]
    parent = at.flatten()
    for _ in range(ROUNDS):
        grand = parent[parent].view(rows, columns)
        least = grand.clone()
        for (first, second), dy, dx in joined:
            a, b = _cut(least, grand, dy, dx)
            same = (first == second) & ((first > 0) if dy and dx else True)
            low = torch.where(same, torch.minimum(a[1], b[1]), _FAR)
            torch.minimum(a[0], low, out=a[0])
            torch.minimum(b[0], low, out=b[0])
        flat = least.flatten()
        hooked = parent.scatter_reduce(0, parent, flat, "amin")
        parent = torch.minimum(torch.minimum(hooked, flat), parent[parent])
        parent = parent[parent]
    return parent.view(rows, columns)


def _pair(image: Tensor, dy: int, dx: int) -> tuple[Tensor, Tensor]:
    """Return the pixels that have a neighbour at (dy, dx), and those neighbours."""
    rows, columns = image.shape
    left, right = max(-dx, 0), columns - max(dx, 0)
    return image[: rows - dy, left:right], image[dy:, left + dx : right + dx]


def _cut(one: Tensor, other: Tensor, dy: int, dx: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    (a, b), (c, d) = _pair(one, dy, dx), _pair(other, dy, dx)
    return (a, c), (b, d)


def settled(grid: Tensor, inside: Tensor, most_cells: int, least: float) -> tuple[Tensor, Tensor]:
    """Find a cell for blocks whose votes reached no seed, as :func:`models.segment.votes.settle`.

    Patches beyond ``most_cells`` are counted, and get no label of their own.
    """
    lost = inside & (grid == 0)
    root = components(torch.where(lost, 1, 0), across=False)
    area = totals(root, lost.long(), root.numel())
    first = (root == torch.arange(root.numel(), device=root.device).view(root.shape)) & lost
    cell = first.flatten() & (area >= least)
    number = cell.cumsum(0)
    patch = torch.where(cell & (number <= most_cells), number, 0)[root]
    grid = torch.where(lost & (patch > 0), most_cells + patch, grid)
    for _ in range(RINGS):
        around = torch.nn.functional.pad(grid, (1, 1, 1, 1))
        found = torch.zeros_like(grid)
        for beside in (around[:-2, 1:-1], around[1:-1, :-2], around[1:-1, 2:], around[2:, 1:-1]):
            found = torch.where(found == 0, beside, found)
        grid = torch.where(lost & (grid == 0), found, grid)
    return grid, (cell.sum() - most_cells).clamp(min=0)


def adopted(
    labels: Tensor, most: int, most_own: int, least: float, own: float, hole: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Decide what each piece is and number the cells, as :func:`models.segment.pieces.names_of`.

    Parameters
    ----------
    labels : (y, x) int64
        Up to ``most``.
    most_own
        Pieces that came off their cell and may be one of their own.

    Returns
    -------
    labels, count, overflow
        ``(y, x)`` int64 with 1..count, the count, and how many pieces beyond ``most_own`` were given to a neighbour.
    """
    root = components(labels)
    size = root.numel()
    flat, of = root.flatten(), labels.flatten()
    at = torch.arange(size, device=labels.device)
    area = totals(root, torch.ones_like(root), size)
    is_root = flat == at
    cell = is_root & (of > 0)
    # the largest piece of a label, the first of equals
    key = torch.where(cell, (area << 26) | (2**26 - 1 - at), 0)
    main = torch.zeros(most + 1, dtype=torch.int64, device=labels.device).scatter_reduce_(0, of, key, "amax")
    main[:1].fill_(0)  # an assignment would copy the number from the host
    good = (main >> 26) >= least
    number = torch.where(good, good.cumsum(0), 0)
    name = torch.where(cell & (key == main[of]), number[of], 0)
    free = cell & (name == 0) & (area >= own) & (area >= least)
    extra = free.cumsum(0)
    name = torch.where(free & (extra <= most_own), good.sum() + extra, name)
    found = free.sum()
    count, overflow = good.sum() + found.clamp(max=most_own), (found - most_own).clamp(min=0)
    edge = torch.zeros_like(labels)
    for side in (edge[0], edge[-1], edge[:, 0], edge[:, -1]):
        side.fill_(1)
    open_ = torch.zeros(size, dtype=torch.int64, device=labels.device).scatter_reduce_(0, flat, edge.flatten(), "amax")
    background = is_root & (of == 0)
    loose = is_root & (name == 0) & ~(background & ((open_ > 0) | (area > hole)))
    name = torch.where(loose, _neighbour(root, name, loose, background), name)
    return name[root], count, overflow


def _neighbour(root: Tensor, name: Tensor, loose: Tensor, background: Tensor) -> Tensor:
    """Return the cell that each loose piece goes to: of its lowest and highest neighbour the one it touches more."""
    size = root.numel()
    named = name[root]
    pairs = []
    for dy, dx in ((0, 1), (1, 0)):
        (a, b), (p, q) = _pair(named, dy, dx), _pair(root, dy, dx)
        pairs += [(p.flatten(), b.flatten()), (q.flatten(), a.flatten())]
    piece, beside = (torch.cat(side) for side in zip(*pairs, strict=True))
    touch = loose[piece] & (beside > 0)
    device = root.device
    low = torch.full((size,), _FAR, device=device).scatter_reduce_(0, piece, torch.where(touch, beside, _FAR), "amin")
    high = torch.zeros(size, dtype=torch.int64, device=device)
    high = high.scatter_reduce_(0, piece, torch.where(touch, beside, 0), "amax")
    with_low = totals(piece, (touch & (beside == low[piece])).long(), size)
    with_high = totals(piece, (touch & (beside == high[piece])).long(), size)
    chosen = torch.where(with_low >= with_high, low, high)
    return torch.where((high == 0) | (background & (low != high)), 0, chosen)
