"""What a device's failure becomes: C++ adapters raise RuntimeError, devices written in Python nearly anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stream.errors import CytoloopError, DriverError

DEVICE_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, OSError, ArithmeticError, AttributeError)


@contextmanager
def device_calls(what: str) -> Iterator[None]:
    """Turn errors of the core into DriverError that says ``what`` was being done."""
    try:
        yield
    except CytoloopError:
        raise
    except DEVICE_ERRORS as error:
        raise DriverError(f"{what}: the core says: {error or type(error).__name__}") from error
