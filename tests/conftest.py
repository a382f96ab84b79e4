"""What holds for every test."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _root_level() -> Iterator[None]:
    """Let each test log as in a fresh interpreter: pymmcore-plus, imported by any, sets the root logger to DEBUG."""
    logging.root.setLevel(logging.WARNING)
    yield
    logging.root.setLevel(logging.WARNING)
