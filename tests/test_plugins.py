"""What a configuration names is loaded, and nothing else changes by that."""

from __future__ import annotations

import subprocess
import sys

LOADS = """
import logging
from stream import plugins

logging.basicConfig(level=logging.INFO)
plugins.load("drivers", "micromanager")
print(logging.root.level)
"""


def test_a_driver_s_libraries_do_not_change_how_much_a_node_logs() -> None:
    """In an interpreter of its own: a library speaks up only once, when it is imported first."""
    said = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["20"]
