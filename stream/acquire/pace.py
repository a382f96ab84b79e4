"""How often feedback may act: rates over a sliding window, and a cooldown for single kinds."""

from __future__ import annotations

from collections import deque

from stream.safety import LimitSettings

_ANY = ""
_SECOND_NS = 1_000_000_000


class Pace:
    """Remembers the commands that passed."""

    def __init__(self, limits: LimitSettings) -> None:
        self._rates = {_ANY: limits.rate_per_s, **limits.rates_per_s}
        self._cooldown_s = limits.cooldown_s
        self._passed_ns: dict[str, deque[int]] = {kind: deque() for kind in self._rates}
        self._last_ns: dict[str, int] = {}

    def refuses(self, kind: str, now_ns: int) -> str | None:
        """Say why a command of this kind comes too early, or None."""
        for name in (_ANY, kind):
            if name in self._rates and self._is_full(name, now_ns):
                return _too_many(name, self._rates[name])
        last_ns, cooldown_s = self._last_ns.get(kind), self._cooldown_s.get(kind)
        if last_ns is not None and cooldown_s is not None:
            since_s = (now_ns - last_ns) / _SECOND_NS
            if since_s < cooldown_s:
                return f"{kind} {since_s:.1f} s after the last one; cooldown_s is {cooldown_s:g}"
        return None

    def passed(self, kind: str, now_ns: int) -> None:
        """Note a command that goes on."""
        self._last_ns[kind] = now_ns
        for name in (_ANY, kind):
            if name in self._passed_ns:
                self._passed_ns[name].append(now_ns)

    def _is_full(self, name: str, now_ns: int) -> bool:
        rate, passed_ns = self._rates[name], self._passed_ns[name]
        window_s = max(1.0, 1.0 / rate)
        while passed_ns and now_ns - passed_ns[0] > window_s * _SECOND_NS:
            passed_ns.popleft()
        return len(passed_ns) >= max(1.0, rate)


def _too_many(name: str, rate: float) -> str:
    if not name:
        return f"more than rate_per_s = {rate:g} commands within a second"
    span = "a second" if rate >= 1 else f"{1 / rate:g} s"
    return f"more than rates_per_s = {rate:g} of {name} within {span}"
