"""Freed memory is kept where the C library can be told so, and nothing is done elsewhere."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from models.train.memory import keep_memory

PROGRAM = """
import sys
from pathlib import Path
from resource import getpagesize
import numpy as np
from models.train.memory import keep_memory

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize() // 10**6

if "keep" in sys.argv:
    assert keep_memory() and keep_memory()  # twice does no harm
before = resident_mb()
block = np.ones(10_000_000)
del block
print(resident_mb() - before)
"""


def kept_mb(*asked: str) -> int:
    """Return how much of 80 MB that were taken and given back a process still has."""
    run = [sys.executable, "-c", PROGRAM, *asked]
    return int(subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_freed_memory_is_kept() -> None:
    assert kept_mb() < 10
    assert kept_mb("keep") > 70


def no_library(name: object) -> object:
    raise TypeError("Windows")


@pytest.mark.parametrize(
    "library",
    [no_library, lambda name: SimpleNamespace(), lambda name: ctypes.CDLL("/nowhere.so")],
    ids=["Windows", "no mallopt", "cannot be opened"],
)
def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch, library: object) -> None:
    monkeypatch.setattr("models.train.memory.ctypes", SimpleNamespace(CDLL=library, c_int=ctypes.c_int))
    assert not keep_memory()
