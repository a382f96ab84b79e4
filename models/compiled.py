"""The one way in which the models compile a function: without the GIL, cached on disk, with its type kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile with numba on first use; the result is cached beside the source file."""
    return cast(Function, numba.njit(nogil=True, cache=True)(function))


def compiled_for(signature: str) -> Callable[[Function], Function]:
    """Compile on import, for what is used too rarely to be met in a warm-up: no live frame waits for the compiler."""
    make: Callable[[Function], Function] = numba.njit(signature, nogil=True, cache=True)
    return make
