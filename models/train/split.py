"""Which part of the training data is only looked at, never learned from: it chooses the stop."""

from __future__ import annotations

import hashlib

SHARE = 0.2
"""Of the images of a folder, and of the width of a movie's field (its right edge)."""


def is_validation(name: str) -> bool:
    """Say whether an image is kept for validation: always the same answer for the same file name."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") < SHARE * 2**32
