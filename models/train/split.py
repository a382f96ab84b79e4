"""Which part of the training data is only looked at, never learned from: it chooses the stop."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

SHARE = 0.2
"""Of the images of a folder, and of the width of a movie's field (its right edge)."""


def held_out(names: Sequence[str]) -> frozenset[str]:
    """Return which images of a folder are kept for validation; of two or more at least one is, and one is not."""
    kept = {name for name in names if is_validation(name)}
    if len(names) > 1 and not kept:
        kept = {min(names, key=_rank)}
    if len(names) > 1 and len(kept) == len(names):
        kept.remove(max(names, key=_rank))
    return frozenset(kept)


def is_validation(name: str) -> bool:
    """Say whether an image is kept for validation: always the same answer for the same file name."""
    return _rank(name) < SHARE * 2**32


def _rank(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
