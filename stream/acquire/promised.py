"""Light that is promised to sequences beside the plan until their frames have cost it."""

from __future__ import annotations

from dataclasses import dataclass

from stream.acquire.outline import Outline
from stream.frame import parse_field

_PATIENCE_NS = 10_000_000_000


@dataclass(slots=True)
class Promise:
    """Exposure that a sequence may still have; ``until_ns`` is when it must be over, once it has begun."""

    field: str
    lit_ms: float
    longest_ms: float
    duration_ms: float
    begun: bool = False
    until_ns: int | None = None


class Promised:
    """Promises by the ids of their commands. Not safe from several threads: its ledger is."""

    def __init__(self) -> None:
        self._held: dict[str, Promise] = {}

    def hold(self, command_id: str, field: str, sequence: Outline) -> None:
        """Keep back what a sequence will cost, so that no second one can spend it too."""
        self._held[command_id] = Promise(field, sequence.light_ms, sequence.longest_ms, sequence.duration_ms)

    def ended(self, command_id: str, applied: bool, now_ns: int) -> None:
        """A sequence was not taken after all, or its frames have begun to come."""
        held = self._held.get(command_id)
        if held is not None and applied:
            held.until_ns = now_ns + round(2e6 * held.duration_ms) + _PATIENCE_NS
        elif held is not None:
            del self._held[command_id]

    def pay(self, field: str, exposed_ms: float) -> None:
        """Take exposures beside the plan from what was promised to their sequence."""
        named = parse_field(field) if self._held else None
        held = self._held.get(named.aside) if named is not None else None
        if named is not None and held is not None:
            held.begun = True
            held.lit_ms -= exposed_ms
            if held.lit_ms <= 0:
                del self._held[named.aside]

    def of(self, field: str) -> list[Promise]:
        """Return what is promised on a field."""
        return [held for held in self._held.values() if held.field == field]

    def longest_ms(self, aside: str) -> float:
        """Return the longest exposure of a sequence; 0 for one that nothing is promised to."""
        held = self._held.get(aside)
        return held.longest_ms if held is not None else 0.0

    def forget_lost(self, now_ns: int) -> None:
        """Give up what was promised to sequences that are over: some of their frames never came."""
        over = [name for name, held in self._held.items() if held.until_ns is not None and held.until_ns <= now_ns]
        for name in over:
            del self._held[name]
