"""The complete configurations and policies that ship with cytoloop."""

from __future__ import annotations

from pathlib import Path


def folder() -> Path:
    """Return the folder of the shipped examples: inside an installed package, or ``deploy/examples`` of a checkout."""
    installed = Path(__file__).parent / "_examples"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "deploy" / "examples"
