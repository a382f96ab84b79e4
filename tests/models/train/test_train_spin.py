"""Training is polite to what else runs: its threads do not spin for long while they wait."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="training needs the extra [train]")

SEEN = """
import os
import sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"))
            sys.exit()
sys.meta_path.insert(0, Watch())
from stream.cli.training import *
from models.train.run import train
"""
"""Says what is known when torch is first asked for, and does not load it: that takes seconds."""


@pytest.mark.parametrize(("given", "wanted"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_how_long_threads_spin_is_said_before_torch_is_loaded(monkeypatch, given, wanted):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    said = subprocess.run([sys.executable, "-c", SEEN], capture_output=True, text=True, check=True).stdout
    assert said.split()[-1] == wanted
