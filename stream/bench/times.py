"""From the answers to commands to figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WORTH_MS = 0.5
"""Calls that take less are a few microseconds of a simulated device: no ratio is made of them."""
WORTH_COMMANDS = 20
TARGETS = {"beside_p50_ms": 3.0, "beside_p99_ms": 15.0, "device_ratio": 1.3}
"""What a loop must keep: beside its devices, and against the bare core."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How one command went.

    ``timings_ms`` are the rig's; ``asked_ms`` is from its sending to its final answer, by the sender's clock;
    ``bare_ms`` is what its device calls take alone.
    """

    kind: str
    state: str
    reason: str
    timings_ms: Mapping[str, float]
    asked_ms: float
    bare_ms: float = 0.0

    @property
    def beside_ms(self) -> float:
        """What the rig added from the command's arrival to its effect: queueing, checks, records on disk."""
        times = self.timings_ms
        return times["total"] - times["boundary"] - times["device"]

    @property
    def beside_asked_ms(self) -> float | None:
        """What everything added from sending to answer: the above, both ways over the wire, the last record."""
        times = self.timings_ms
        if "to_first_frame" not in times:
            return None
        shown_ms = max(times["total"], times["to_first_frame"])
        return self.asked_ms - shown_ms + self.beside_ms


def row(answers: Sequence[Answer], slow: Iterable[str]) -> dict[str, Any]:
    """Summarise one rig in one mode.

    Returns
    -------
    dict
        ``commands``, ``states``; ``boundary_ms`` (waiting for the frame boundary), ``device_ms`` (calls to the core),
        ``bare_device_ms`` (the same calls alone), ``beside_device_ms`` (total - boundary - device, of each command),
        ``total_ms`` (arrival at the rig → effect), ``to_first_frame_ms`` (arrival → frame that shows it, in hand),
        ``device_beyond_bare_ms`` (their difference, command by command), ``asked_ms`` and ``beside_asked_ms`` (by the
        sender), each {min, p50, p95, p99}; ``device_ratio`` {p50, of_kinds, of_sums, of}: device by bare time, for
        commands whose bare calls take at least WORTH_MS, and of all together; ``kept`` {target: bool; None: nothing was
        measured}; ``by_kind``; ``refused`` (kind: why). Slow kinds stand only in ``by_kind``.
    """
    slow = tuple(slow)
    applied = [answer for answer in answers if answer.state == "applied"]
    usual = [answer for answer in applied if answer.kind not in slow]
    kinds = sorted({answer.kind for answer in applied})
    return {
        "commands": len(usual),
        "states": dict(Counter(answer.state for answer in answers)),
        **_times(usual),
        "to_first_frame_ms": _summary(a.timings_ms.get("to_first_frame") for a in usual),
        "asked_ms": _summary(a.asked_ms for a in usual),
        "beside_asked_ms": _summary(a.beside_asked_ms for a in usual),
        "device_beyond_bare_ms": _summary(a.timings_ms["device"] - a.bare_ms for a in usual),
        "device_ratio": _ratio(usual),
        "kept": _kept(usual),
        "by_kind": {
            kind: {"commands": len(same), **_times(same)}
            for kind in kinds
            for same in [[a for a in applied if a.kind == kind]]
        },
        "refused": {answer.kind: answer.reason for answer in answers if answer.state != "applied"},
    }


def _times(answers: Sequence[Answer]) -> dict[str, Any]:
    return {
        "boundary_ms": _summary(a.timings_ms["boundary"] for a in answers),
        "device_ms": _summary(a.timings_ms["device"] for a in answers),
        "bare_device_ms": _summary(a.bare_ms for a in answers),
        "beside_device_ms": _summary(a.beside_ms for a in answers),
        "total_ms": _summary(a.timings_ms["total"] for a in answers),
    }


def _ratio(answers: Sequence[Answer]) -> dict[str, float] | None:
    """Return device time by bare time: the median over commands that are worth a ratio, and two over all of them.

    ``of_kinds`` takes each command as long as the median of its kind: one that a busy machine held up for a while, here
    or there, says nothing about us.
    """
    bare_ms = sum(a.bare_ms for a in answers)
    if not bare_ms:
        return None
    worth = [a.timings_ms["device"] / a.bare_ms for a in answers if a.bare_ms >= WORTH_MS]
    usual_ms, usual_bare_ms = 0.0, 0.0
    for kind, count in Counter(a.kind for a in answers).items():
        usual_ms += count * float(np.median([a.timings_ms["device"] for a in answers if a.kind == kind]))
        usual_bare_ms += count * float(np.median([a.bare_ms for a in answers if a.kind == kind]))
    of_sums = sum(a.timings_ms["device"] for a in answers) / bare_ms
    return {
        "p50": round(float(np.median(worth or [0.0])), 3),
        "of_kinds": round(usual_ms / usual_bare_ms if usual_bare_ms else of_sums, 3),
        "of_sums": round(of_sums, 3),
        "of": len(worth),
    }


def _kept(answers: Sequence[Answer]) -> dict[str, bool | None]:
    beside, ratio = _summary(a.beside_ms for a in answers), _ratio(answers)
    return {
        "beside_p50_ms": beside["p50"] < TARGETS["beside_p50_ms"] if beside else None,
        "beside_p99_ms": beside["p99"] < TARGETS["beside_p99_ms"] if beside else None,
        "device_ratio": _judged(ratio) <= TARGETS["device_ratio"] if ratio else None,
    }


def _judged(ratio: Mapping[str, float]) -> float:
    """Return the worse of both; the few that are worth a ratio on a fast rig are those that were held up when alone."""
    return max(ratio["p50"], ratio["of_kinds"]) if ratio["of"] >= WORTH_COMMANDS else ratio["of_kinds"]


def _summary(values: Iterable[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    least, *percentiles = np.percentile(known, (0, 50, 95, 99)).tolist()
    return {
        name: round(value, 3) for name, value in zip(("min", "p50", "p95", "p99"), (least, *percentiles), strict=True)
    }
