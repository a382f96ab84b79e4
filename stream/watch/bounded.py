"""Large things by key within a budget of bytes: beyond it those go that were put or touched longest ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """Keeps at least the newest ``least`` things, whatever their size.

    >>> kept = Bounded[str, str](10)
    >>> for name in ("a", "b"): kept.put(name, name, 4)
    >>> kept.touch("a"); kept.put("c", "c", 4)
    >>> list(kept), kept.nbytes
    (['a', 'c'], 8)
    """

    def __init__(self, limit_bytes: int, least: int = 1) -> None:
        self._limit, self._least = limit_bytes, least
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.nbytes = 0

    def __iter__(self) -> Iterator[K]:
        return iter(self._kept)

    def get(self, key: K) -> V | None:
        """Return what is kept, None when nothing is."""
        found = self._kept.get(key)
        return found[0] if found else None

    def values(self) -> Iterator[V]:
        """Yield what is kept, that which goes first first."""
        return (value for value, _ in self._kept.values())

    def put(self, key: K, value: V, nbytes: int) -> None:
        """Keep a thing, in place of another under its key; also to say that its size has changed."""
        self.drop(key)
        self._kept[key] = value, nbytes
        self.nbytes += nbytes
        while self.nbytes > self._limit and len(self._kept) > self._least:
            self.drop(next(iter(self._kept)))

    def touch(self, key: K) -> None:
        """Note that a thing is in use."""
        self._kept.move_to_end(key)

    def drop(self, key: K) -> None:
        """Forget a thing, if it is there."""
        _, nbytes = self._kept.pop(key, (None, 0))
        self.nbytes -= nbytes
