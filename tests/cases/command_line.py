"""Command lines in processes of their own, which all begin with the command line imported already."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_BEGUN = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
if sys.platform != "win32":
    _BEGUN.set_forkserver_preload(["stream.cli", __name__])


def cytoloop(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own; what it says is in files meanwhile, so that it need not be heard."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = _BEGUN.Process(target=_run, args=(arguments, str(cwd or Path.cwd()), str(out), str(err)))
        process.start()
        process.join(100)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(["cytoloop", *arguments], 100)
        return subprocess.CompletedProcess(arguments, process.exitcode, out.read_text("utf-8"), err.read_text("utf-8"))


def _run(arguments: tuple[str, ...], cwd: str, out: str, err: str) -> None:
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    sys.argv = ["cytoloop", *arguments]
    from stream.cli import main

    main()
