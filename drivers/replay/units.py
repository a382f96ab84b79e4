"""Lengths and times as recordings state them."""

from __future__ import annotations

from typing import Any

_UM = {
    "pm": 1e-6, "picometer": 1e-6, "nm": 1e-3, "nanometer": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0,
    "microns": 1.0, "micrometer": 1.0, "\\u00b5m": 1.0, "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4,
    "m": 1e6, "meter": 1e6, "inch": 25400.0,
}  # fmt: skip
_MS = {
    "ns": 1e-6, "nanosecond": 1e-6, "µs": 1e-3, "us": 1e-3, "microsecond": 1e-3, "ms": 1.0, "msec": 1.0,
    "millisecond": 1.0, "s": 1e3, "sec": 1e3, "second": 1e3, "seconds": 1e3, "min": 6e4, "minute": 6e4, "h": 3.6e6,
    "hour": 3.6e6, "d": 8.64e7, "day": 8.64e7,
}  # fmt: skip


def to_um(value: Any, unit: str) -> float | None:
    """Return a length in µm; None where it is not stated, not positive or of an unknown unit."""
    return _scaled(value, _UM.get(unit.strip()))


def to_ms(value: Any, unit: str) -> float | None:
    """Return a time in ms; None where it is not stated, negative or of an unknown unit."""
    return _scaled(value, _MS.get(unit.strip()), zero=True)


def _scaled(value: Any, factor: float | None, *, zero: bool = False) -> float | None:
    if value is None or factor is None:
        return None
    number = float(value) * factor
    return number if number > 0 or (zero and number == 0) else None
