"""Fits a network: AdamW, a cosine, mixed precision, a running average of the weights, checkpoints and a log."""

from __future__ import annotations

import copy
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.nets.cellnet import CellNet
from models.nets.restore import renormed
from models.spec import Head
from models.train import batches
from models.train.batches import Pool
from models.train.losses import WEIGHTS, Batch, losses, total
from models.train.precision import mixed
from models.train.settings import TrainSettings
from models.train.teachers import Teachers
from models.train.weights import EXPORTED, earlier, earlier_net, grown, save_net
from stream.errors import StageError, StoreError

WARM_SHARE = 0.04
"""Of the steps, in which the learning rate rises."""
CHECKPOINT = "checkpoint.pt"
LOG = "metrics.csv"
MOST_LOST = 5
"""Steps in a row after which a loss that is no number will not be one again."""
RENORM_BATCHES = 8
"""Crops that give norms their statistics, in batches."""
_DIVERGED = (
    "the run diverged: choose a smaller learning_rate and another --out, or look for pixels of the data that are none"
)
Report = Callable[[int, int, dict[str, float]], None]
"""``report(step, steps, figures)``: called after every step."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What a run gave: the averaged network at its best validation, and how it came about."""

    net: CellNet
    best_step: int
    validation: dict[str, float]
    steps: int
    minutes: float


class Fit:
    """One training run in a folder; made anew with the same folder it goes on from its last checkpoint.

    Raises StoreError when the folder's checkpoint is of another run, or weights to begin from are not there.

    Parameters
    ----------
    out
        Gets ``checkpoint.pt`` every few minutes, ``metrics.csv``, and at the end ``best.pt``.
    """

    def __init__(self, settings: TrainSettings, pool: Pool, out: Path, device: str = "cpu") -> None:
        torch.manual_seed(settings.seed)
        self._settings, self._pool, self._out, self._device = settings, pool, out, device
        self._weights = {**WEIGHTS, **settings.weights}
        self._net = CellNet(settings.spec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        resumed = (out / CHECKPOINT).exists()
        if settings.start is not None and not resumed:
            self._begin_from(earlier(settings.start, out))
        places = [earlier(path, out) for path in settings.teachers]
        self._teachers = Teachers([(path, earlier_net(path)) for path in places], settings.spec, device)
        self._average = copy.deepcopy(self._net)
        self._best = copy.deepcopy(self._net)
        self._best_figures: dict[str, float] = {"total": float("inf")}
        self._best_step = self._step = self._lost = 0
        self._spent_s = 0.0
        decayed = [p for p in self._net.parameters() if p.ndim > 1]
        others = [p for p in self._net.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate)
        out.mkdir(parents=True, exist_ok=True)
        if resumed:
            self._load(out / CHECKPOINT)
        _cut(out / LOG, self._step)

    def run(self, report: Report = lambda step, steps, figures: None) -> Fitted:
        """Train to the end.

        Raises
        ------
        StageError
            The run diverged: the loss is no number any more, or was none on what is held out.
        """
        settings = self._settings
        held = batches.validation(self._pool, settings)
        saved = time.monotonic()
        last = saved
        for batch in batches.training(self._pool, settings, self._step):
            figures, learned = self._learn(batch)
            self._step += 1
            self._watch(learned)
            now = time.monotonic()
            self._spent_s, last = self._spent_s + now - last, now
            over = self._spent_s > settings.minutes * 60
            ends = over or self._step == settings.steps
            if ends or self._step % settings.validate_every == 0:
                self._validate(held, figures)
            if not self._lost and (ends or now - saved > settings.checkpoint_minutes * 60):
                self._save(self._out / CHECKPOINT)
                saved = now
            report(self._step, settings.steps, figures)
            if over:
                break
        if not np.isfinite(self._best_figures["total"]):
            raise StageError(f"{settings.name}: no loss on what is held out was a number; {_DIVERGED}")
        save_net(self._best, self._out / "best.pt")
        return Fitted(self._best, self._best_step, self._best_figures, self._step, self._spent_s / 60)

    def _watch(self, learned: bool) -> None:
        """Raise StageError when nothing could be learned for too long; until it can be again, nothing is kept."""
        self._lost = 0 if learned else self._lost + 1
        if self._lost >= MOST_LOST:
            since = self._step - self._lost + 1
            raise StageError(
                f"{self._settings.name}: the loss, or its gradient, is no number since step {since}; {_DIVERGED}"
            )

    def _begin_from(self, path: Path) -> None:
        """Take up earlier weights; those of an ONNX file have no statistics, so the first crops give them some."""
        self._net.load_state_dict(grown(path, self._net))
        if path.suffix == EXPORTED:
            rng = np.random.default_rng((self._settings.seed, RENORM_BATCHES))
            drawn = (self._there(self._pool.batch(rng, self._settings.augment)) for _ in range(RENORM_BATCHES))
            renormed(self._net, ((one["frames"], one["offset"], one["scale"]) for one in drawn))

    def _rate(self) -> float:
        done = max(self._step / self._settings.steps, self._spent_s / (self._settings.minutes * 60))
        warm = min(1.0, (self._step + 1) / max(1.0, WARM_SHARE * self._settings.steps))
        return self._settings.learning_rate * warm * (0.5 + 0.5 * float(np.cos(np.pi * min(done, 1.0))))

    def _learn(self, batch: Batch) -> tuple[dict[str, float], bool]:
        """Take a step; return its figures, and whether loss and gradient were numbers: else nothing is learned."""
        rate = self._rate()
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._net.train()
        there = self._there(batch)
        found = self._losses(self._said(self._net, there), there)
        loss = total(found, self._weights)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._net.parameters(), 1.0)
        total_loss, gradient, *values = torch.stack([loss, norm, *found.values()]).tolist()  # the device is waited for
        learned = bool(np.isfinite([total_loss, gradient]).all())
        if learned:
            self._optimiser.step()
            self._follow()
        else:
            self._forget()
        return {"total": total_loss, "rate": rate, **dict(zip(found, values, strict=True))}, learned

    @torch.no_grad()
    def _forget(self) -> None:
        """Give norms the averaged statistics: in their own, what is no number would stay for good."""
        for mine, averaged in zip(self._net.buffers(), self._average.buffers(), strict=True):
            mine.copy_(averaged)

    def _losses(self, said: tuple[torch.Tensor, torch.Tensor], batch: Batch) -> dict[Head, torch.Tensor]:
        """Compare what was said of a batch with the truth, and as far as there are teachers with what they say."""
        spec, per_positive, taught = self._settings.spec, self._settings.per_positive, self._settings.taught
        found = losses(spec, *said, batch, per_positive)
        if not self._settings.teachers:
            return found
        told = losses(spec, *said, self._teachers.lesson(batch, self._taught), per_positive)
        return {head: torch.lerp(value, told[head], taught) for head, value in found.items()}

    def _said(self, net: CellNet, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast(self._device, dtype=torch.bfloat16, enabled=mixed(self._device)):
            foreground, maps = net(batch["frames"], batch["offset"], batch["scale"])
        return foreground.float(), maps.float()

    @torch.no_grad()
    def _taught(self, teacher: CellNet, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        with _logits(teacher):
            return self._said(teacher, batch)

    def _there(self, batch: Batch) -> Batch:
        return {name: value.to(self._device) for name, value in batch.items()}

    @torch.no_grad()
    def _follow(self) -> None:
        """Let the averaged weights follow; early on they follow faster."""
        keep = min(self._settings.average, (1 + self._step) / (10 + self._step))
        for mine, new in zip(self._average.state_dict().values(), self._net.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(new, 1 - keep)
            else:
                mine.copy_(new)

    @torch.no_grad()
    def _validate(self, held: list[Batch], figures: dict[str, float]) -> None:
        self._average.eval()
        sums: dict[Head, float] = {}
        for batch in held:
            there = self._there(batch)
            with _logits(self._average):
                for head, value in self._losses(self._said(self._average, there), there).items():
                    sums[head] = sums.get(head, 0.0) + float(value) / len(held)
        score: dict[str, float] = {"total": sum(self._weights[head] * value for head, value in sums.items())}
        score.update({str(head): value for head, value in sums.items()})
        figures.update({f"held_{name}": value for name, value in score.items()})
        if score["total"] < self._best_figures["total"]:
            self._best, self._best_figures, self._best_step = copy.deepcopy(self._average), score, self._step
        path = self._out / LOG
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["step", "minutes", *figures])
            writer.writerow([self._step, f"{self._spent_s / 60:.3f}", *(f"{value:.6g}" for value in figures.values())])

    def _save(self, path: Path) -> None:
        state = {
            "settings": self._settings.model_dump_json(),
            "net": self._net.state_dict(),
            "average": self._average.state_dict(),
            "best": self._best.state_dict(),
            "best_step": self._best_step,
            "best_figures": self._best_figures,
            "optimiser": self._optimiser.state_dict(),
            "step": self._step,
            "spent_s": self._spent_s,
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def _load(self, path: Path) -> None:
        state: dict[str, Any] = torch.load(path, map_location=self._device, weights_only=True)
        if state["settings"] != self._settings.model_dump_json():
            raise StoreError(f"{path} belongs to a run with other settings; give another --out, or remove it")
        self._net.load_state_dict(state["net"])
        self._average.load_state_dict(state["average"])
        self._best.load_state_dict(state["best"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._best_step, self._best_figures = state["best_step"], state["best_figures"]
        self._step, self._spent_s = state["step"], state["spent_s"]


def _cut(log: Path, step: int) -> None:
    """Take out of the log what comes after a step: it is done again. Without a row that stays, the file goes."""
    if not log.exists():
        return
    head, *rows = log.read_bytes().splitlines(keepends=True) or [b""]
    kept = [row for row in rows if row.endswith(b"\n") and int(row.partition(b",")[0]) <= step]
    if kept:
        log.write_bytes(b"".join([head, *kept]))
    else:
        log.unlink()


class _logits:
    """Has an evaluating network return what it returns in training, with its running statistics."""

    def __init__(self, net: CellNet) -> None:
        self._net = net

    def __enter__(self) -> None:
        self._net.training = True

    def __exit__(self, *error: object) -> None:
        self._net.training = False
