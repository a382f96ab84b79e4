"""Networks that teach another one: what they say of a crop, on average, is learned beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.nets.cellnet import CellNet
from models.spec import NetSpec
from models.train.losses import Batch, lesson
from stream.errors import StoreError

MIRRORS: tuple[tuple[int, ...], ...] = ((), (-2, -1), (-2,), (-1,))
"""Axes along which the first, second, ... teacher sees a crop mirrored: each errs in its own way."""
Said = Callable[[CellNet, Batch], tuple[Tensor, Tensor]]
"""``said(net, batch)``: the outputs in training mode, foreground ``(n, 1, y, x)`` and maps ``(n, c, y / 2, x / 2)``."""


class Teachers:
    """Networks that see the same pictures as the one that learns.

    Raises
    ------
    StoreError
        One of them was made for other pictures, or does not say what the one that learns should say.
    """

    def __init__(self, nets: Sequence[tuple[Path, CellNet]], spec: NetSpec, device: str) -> None:
        for path, net in nets:
            for name in ("kind", "object_px", "frames", "heads"):
                if getattr(net.spec, name) != getattr(spec, name):
                    raise StoreError(f"{path} cannot teach {spec.name}: their {name} differ")
        self._spec = spec
        self._nets = [net.to(device, memory_format=torch.channels_last) for _, net in nets]  # type: ignore[call-overload]

    def lesson(self, batch: Batch, said: Said) -> Batch:
        """Return what they say of a batch, on average, as :func:`models.train.losses.lesson` does for one of them."""
        told = [self._mirrored(net, batch, said, MIRRORS[i % len(MIRRORS)]) for i, net in enumerate(self._nets)]
        foreground, maps = (torch.stack(outputs).mean(0) for outputs in zip(*told, strict=True))
        return lesson(self._spec, foreground, maps, batch["taught"])

    def _mirrored(self, net: CellNet, batch: Batch, said: Said, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Return the outputs of a network that sees the crops mirrored, mirrored back."""
        if not axes:
            return said(net, batch)
        foreground, maps = said(net, {**batch, "frames": batch["frames"].flip(axes)})
        turned = {name for name in self._spec.channels for axis in axes if name.endswith({-2: "_y", -1: "_x"}[axis])}
        sign = torch.tensor([-1.0 if name in turned else 1.0 for name in self._spec.channels], device=maps.device)
        return foreground.flip(axes), maps.flip(axes) * sign.view(1, -1, 1, 1)
