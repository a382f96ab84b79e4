"""Denoised pixels in a whole run: recorded of every decided frame, and shown on the live page to who asks for them."""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from websockets.sync.client import ClientConnection, connect

from tests.system.conftest import BackgroundRun

NODES = ("acquire", "analyse", "watch")
CHANGES: dict[str, dict[str, Any]] = {
    "camera": {"options": {"seed": 7, "cells": 12, "size_px": [128, 128], "brightness": 0.2}},
    "chain": {"denoise": "recursive", "segment": "classical-nuclei", "segment_options": {}, "deadline_ms": None},
    "feedback": {"policies": ()},
    "record": {"denoised": True},
    "watch": {"denoised": True, "page": "127.0.0.1:0"},
}


def picture(link: ClientConnection) -> dict[str, Any]:
    """Return the next picture's header, and ask for the one after it."""
    while True:
        message = link.recv(30)
        if isinstance(message, bytes):
            (length,) = struct.unpack_from("<I", message)
            header: dict[str, Any] = json.loads(message[4 : 4 + length])
            link.send(json.dumps({"ack": header["serial"]}))
            return header


def test_denoised_pixels_are_recorded_and_shown(begin: Callable[..., BackgroundRun]) -> None:
    run = begin("virtual.toml", CHANGES, NODES)
    assert run.seen is not None
    with connect(f"{run.seen.page.replace('http', 'ws')}ws", proxy=None, compression=None) as link:
        assert not picture(link)["denoised"]
        link.send(json.dumps({"denoised": True}))
        shown: list[int] = []
        while len(shown) < 5:
            header = picture(link)
            if header["denoised"]:
                assert header["decided"]
                shown.append(header["frame"])
        assert shown == sorted(set(shown)), "each is newer than the one before"
    lost = run.end()["lost"]
    decided = {number for (number,) in run.query("analysis.sqlite", "SELECT frame FROM frames")}
    files = {int(path.stem[1:]): path for path in (run.run_dir / "denoised" / "Camera_p0").iterdir()}
    assert lost == {}
    assert set(files) == decided
    assert set(shown) <= decided
    first, last = (tifffile.imread(files[number]) for number in (min(decided), max(decided)))
    assert (last.shape, last.dtype) == ((128, 128), np.uint16)
    assert grain(last) < 0.7 * grain(first), "the first is one noisy frame; the last holds what came before it too"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_what_was_recorded_outlives_a_killed_analysis(begin: Callable[..., BackgroundRun]) -> None:
    run = begin("virtual.toml", CHANGES)
    run.wait(lambda: run.decided() > 10)
    folder, killed = run.run_dir / "denoised" / "Camera_p0", run.pid("analyse")
    os.kill(killed, signal.SIGKILL)
    before = {path.name: path.read_bytes() for path in folder.glob("*.tif")}
    assert before
    run.wait(lambda: run.pid("analyse") != killed and len(list(folder.glob("*.tif"))) > len(before) + 5)
    run.end()
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert {path.suffix for path in folder.iterdir()} == {".tif"}
    for path in folder.iterdir():
        assert tifffile.imread(path).shape == (128, 128)


def grain(pixels: NDArray[np.uint16]) -> float:
    """Return how much neighbours differ where nothing is."""
    return float(np.median(np.abs(np.diff(pixels.astype(float)))))
