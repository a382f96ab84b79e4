"""Compiled networks that several sessions of one process use: many fields, one model, one copy."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Hashable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

Compiled = TypeVar("Compiled")

_LOCK = threading.Lock()
_HELD: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()


def shared(key: Hashable, compile_: Callable[[], Compiled]) -> Compiled:
    """Return the network compiled for ``key``, compiling it if no session holds it.

    It lives as long as a session holds it. Two threads that ask at once wait for one compilation.
    """
    with _LOCK:
        held: Compiled | None = _HELD.get(key)
        if held is None:
            held = _HELD[key] = compile_()
        return held


def fingerprint(model: Path) -> str:
    """Return the SHA-256 of a model file. Raises OSError when it cannot be read."""
    told = model.stat()
    return _hash(str(model), told.st_mtime_ns, told.st_size)


@lru_cache(maxsize=64)
def _hash(model: str, mtime_ns: int, size: int) -> str:
    return hashlib.sha256(Path(model).read_bytes()).hexdigest()
