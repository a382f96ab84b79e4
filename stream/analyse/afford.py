"""How often a field's state may be written, so that writing takes no more than its share of the time."""

from __future__ import annotations

import logging
from dataclasses import dataclass

log = logging.getLogger(__name__)

_FOLLOW = 0.2
_SURE = 0.8
_MOST_DOUBLINGS = 8


@dataclass(slots=True)
class _Field:
    asked_ns: int
    granted_ns: int
    tries: int = 0
    """0: it is written after every frame; else 1 and how often it was tried in vain."""


class Affordable:
    """Says after which frames a field can be written: after each one, or, where that costs too much, hardly ever.

    What cannot be afforded is tried again as soon as a write as long as the last one would be within its share of the
    time since then; a single slow write costs a few frames. Each try in vain doubles the time to the next one. The log
    says when a field is written no more, and when it is again.

    Parameters
    ----------
    share
        Of the time between two frames of a field, what writing may take; 0: nothing is ever written.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._cost_s = 0.0
        self._fields: dict[str, _Field] = {}

    def ask(self, name: str, now_ns: int) -> bool:
        """Say whether a field can be written after the frame that came now; ask once for every frame."""
        if not self._share:
            return False
        field = self._fields.get(name)
        if field is None:
            self._fields[name] = _Field(now_ns, now_ns)
            return True
        granted = self._fits(name, field, now_ns) or self._is_worth_a_try(field, now_ns)
        field.asked_ns = now_ns
        if granted:
            field.granted_ns = now_ns
        return granted

    def spent(self, name: str, seconds: float) -> None:
        """Note how long a write took; one that was but a try says how it is now."""
        field = self._fields.get(name)
        tried = not self._cost_s or (field is not None and field.tries)
        self._cost_s = seconds if tried else self._cost_s + _FOLLOW * (seconds - self._cost_s)

    def _fits(self, name: str, field: _Field, now_ns: int) -> bool:
        interval_s = (now_ns - field.asked_ns) / 1e9
        fits = self._cost_s <= self._share * interval_s * (_SURE if field.tries else 1.0)
        if fits and field.tries:
            field.tries = 0
            log.info("%s: its state is kept again", name)
        elif not fits and not field.tries:
            field.tries = 1
            said = "%s: writing its state takes %.0f ms, its frames come every %.0f ms: kept no more for now"
            log.warning(said, name, self._cost_s * 1e3, interval_s * 1e3)
        return fits

    def _is_worth_a_try(self, field: _Field, now_ns: int) -> bool:
        doublings = min(field.tries - 1, _MOST_DOUBLINGS)
        worth: bool = self._cost_s * 2**doublings <= self._share * (now_ns - field.granted_ns) / 1e9
        field.tries += worth
        return worth
