"""``cytoloop approve`` and ``deny`` against a running rig."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stream.cli import app
from stream.command import MoveStage
from tests.cases.rig_bench import RigBench, rig_bench


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RigBench]:
    with rig_bench(tmp_path, limits={"approve": ["all"], "approve_timeout_s": 300.0}) as bench:
        yield bench


def cytoloop(rig: RigBench, *words: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(app, [*words, rig.address, "--json"] if words[1:] else [*words, "--json"])
    return done.exit_code, json.loads(done.stdout.splitlines()[-1])


def test_what_waits_is_listed_and_decided(rig: RigBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.session.control_address", lambda named: rig.address)  # no run in ./runs here
    assert cytoloop(rig, "approve") == (0, {"control": rig.address, "waiting": []})
    first, second, third = (rig.send(MoveStage(x_um=x), target={"position": x}) for x in (1, 2, 3))
    rig.wait(lambda: len(rig.waiting()) == 3)
    assert cytoloop(rig, "deny")[1]["waiting"] == [first, second, third]
    assert cytoloop(rig, "deny", first) == (0, {"control": rig.address, "decided": {first: "denied"}})
    code, said = cytoloop(rig, "approve", first)
    assert (code, said["decided"][first]) == (1, f"no command '{first}' waits for approval")
    assert cytoloop(rig, "approve", "all")[1]["decided"] == {second: "approved", third: "approved"}
    assert [rig.final(name).state for name in (first, second, third)] == ["denied", "applied", "applied"]
    assert rig.final(first).reason == "denied by operator"
