"""Nodes that are started one by one, as on several machines, and meet at fixed ports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from stream.facts.questions import summary
from stream.wire.ports import free_ports

CODE = "from stream.cli import main; main()"
TEMPLATE = """
[run]
out = "{out}"
[camera]
driver = "micromanager"
[plan]
frames = 40
exposure_ms = 20
interval_ms = 20
[chain]
denoise = "none"
segment = "classical-nuclei"
[watch]
page = "127.0.0.1:0"
[wire]
frames = "tcp://127.0.0.1:{0}"
control = "tcp://127.0.0.1:{1}"
results = "tcp://127.0.0.1:{2}"
"""


def test_nodes_started_apart_wait_for_each_other_and_end_together(tmp_path: Path) -> None:
    config = tmp_path / "rig.toml"
    config.write_text(TEMPLATE.format(*free_ports("127.0.0.1", 3), out=tmp_path / "runs"))

    def begin(name: str, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CODE, name, str(config), "--json", *more]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    rig = begin("acquire")
    assert rig.stderr is not None
    assert "metrics" in rig.stderr.readline()  # its run folder is there now
    (run_dir,) = (tmp_path / "runs").iterdir()
    others = [begin("watch", "--into", str(run_dir)), begin("analyse", "--into", str(run_dir))]
    ended = [process.communicate(timeout=90) for process in (rig, *others)]
    assert [process.returncode for process in (rig, *others)] == [0, 0, 0], ended
    assert [json.loads(out.splitlines()[-1])["node"] for out, _ in ended] == ["acquire", "watch", "analyse"]
    result = summary(run_dir)
    assert (result["frames"], result["decided"], result["lost"]) == (40, 40, {})
