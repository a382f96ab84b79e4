"""Calls to the core: what they take, and what a device's failure becomes.

C++ adapters raise RuntimeError, devices written in Python nearly anything.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stream.clock import now_ns
from stream.errors import CytoloopError, DriverError

DEVICE_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, OSError, ArithmeticError, AttributeError)


class _Stopwatch(threading.local):
    """What this thread has spent in calls to the core."""

    spent_ns = 0
    depth = 0


_watch = _Stopwatch()


def spent_ns() -> int:
    """Return how long this thread has been in :func:`device_calls` so far; differences are meant."""
    return _watch.spent_ns


@contextmanager
def device_calls(what: str) -> Iterator[None]:
    """Time calls to the core, and turn their errors into DriverError that says ``what`` was being done."""
    began_ns = now_ns()
    _watch.depth += 1
    try:
        yield
    except CytoloopError:
        raise
    except DEVICE_ERRORS as error:
        raise DriverError(f"{what}: the core says: {error or type(error).__name__}") from error
    finally:
        _watch.depth -= 1
        if _watch.depth == 0:
            _watch.spent_ns += now_ns() - began_ns
