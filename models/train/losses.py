"""What is minimised: one term per head, each a mean over the pixels in which it means something."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from models.spec import Head, NetSpec

WEIGHTS: dict[Head, float] = {
    "foreground": 1.0,
    "seed": 2.0,
    "own": 1.0,
    "previous": 1.5,
    "newborn": 1.0,
    "dividing": 1.0,
}
"""What each term counts by default."""
OFFSET_UNIT_PX = 8.0
"""Errors of offsets are counted in this."""
FOCUS = 2.0
RARE = 0.9
"""Focal loss: how steeply easy pixels fade, and the share of the weight that positives have."""
FEW = 0.005
"""Share of the cells' pixels that counts as positive where hardly any is."""
Batch = dict[str, Tensor]


def losses(
    spec: NetSpec, foreground: Tensor, maps: Tensor, wanted: Batch, per_positive: bool = True
) -> dict[Head, Tensor]:
    """Return the unweighted loss of each head.

    Parameters
    ----------
    foreground, maps
        A network's outputs in training mode: logits, and offsets in px.
    wanted
        The fields of :class:`models.train.sample.Sample`, stacked; ``known``, where it is there, says at half
        resolution what ``weight`` says at the full one.
    per_positive
        Divide the terms of the division heads by the pixels that are positive, which are few; else by all cells'.
    """
    planes = {name: maps[:, i] for i, name in enumerate(spec.channels)}
    weight = wanted["weight"]
    known = wanted.get("known", weight[:, 1::2, 1::2])
    found: dict[Head, Tensor] = {"foreground": _foreground(foreground[:, 0], wanted["foreground"], weight)}
    if "seed" in spec.heads:
        bump = F.binary_cross_entropy_with_logits(planes["seed"], wanted["seed"], reduction="none")
        found["seed"] = _mean(bump * (1 + 9 * wanted["seed"]), torch.maximum(known, wanted["cell"]))
    offsets: tuple[tuple[Head, str], ...] = (("own", "cell"), ("previous", "moved"))
    for head, mask in offsets:
        if head in spec.heads:
            said = torch.stack([planes[f"{head}_y"], planes[f"{head}_x"]], 1)
            away = F.smooth_l1_loss(said / OFFSET_UNIT_PX, wanted[head] / OFFSET_UNIT_PX, reduction="none", beta=0.1)
            found[head] = _mean(away.sum(1), wanted[mask])
    rare: tuple[Head, ...] = ("newborn", "dividing")
    for head in rare:
        if head in spec.heads:
            found[head] = _focal(planes[head], wanted[head], wanted["cell"], per_positive)
    return found


def lesson(spec: NetSpec, foreground: Tensor, maps: Tensor, taught: Tensor) -> Batch:
    """Return what a network of ``spec`` says, in training mode, as what another one should say.

    It is sure of every pixel, beyond the labelled ones too; of centres and divisions it speaks where ``taught`` is 1,
    ``(n, y / 2, x / 2)``.
    """
    planes = {name: maps[:, i] for i, name in enumerate(spec.channels)}
    said = torch.sigmoid(foreground[:, 0])
    cell = (F.max_pool2d(said[:, None], 2)[:, 0] > 0.5) * taught
    wanted = {"foreground": said, "weight": torch.ones_like(said), "known": taught, "cell": cell, "moved": cell}
    wanted |= {name: torch.sigmoid(planes[name]) for name in ("seed", "newborn", "dividing") if name in planes}
    for head in ("own", "previous"):
        if f"{head}_y" in planes:
            wanted[head] = torch.stack([planes[f"{head}_y"], planes[f"{head}_x"]], 1)
    return wanted


def total(found: dict[Head, Tensor], weights: Mapping[Head, float] = WEIGHTS) -> Tensor:
    """Return the weighted sum."""
    return torch.stack([weights[head] * value for head, value in found.items()]).sum()


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1.0)


def _foreground(logit: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Cross entropy and one minus the Dice coefficient."""
    entropy = _mean(F.binary_cross_entropy_with_logits(logit, wanted, reduction="none"), weight)
    said = torch.sigmoid(logit) * weight
    dice = (2 * (said * wanted).sum() + 1) / (said.sum() + (wanted * weight).sum() + 1)
    return entropy + 1 - dice


def _focal(logit: Tensor, wanted: Tensor, weight: Tensor, per_positive: bool) -> Tensor:
    """Focal loss (Lin et al. 2017)."""
    entropy = F.binary_cross_entropy_with_logits(logit, wanted, reduction="none")
    right = torch.exp(-entropy)
    share = RARE * wanted + (1 - RARE) * (1 - wanted)
    steep = share * (1 - right) ** FOCUS * entropy * weight
    positive = (wanted * weight).sum() + FEW * weight.sum() if per_positive else weight.sum()
    return steep.sum() / positive.clamp_min(1.0)
