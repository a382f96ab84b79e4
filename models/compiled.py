"""The one way in which the models compile a function: without the GIL, cached on disk, with its type kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile with numba on first use; the result is cached beside the source file."""
    return cast(Function, numba.njit(nogil=True, cache=True)(function))
