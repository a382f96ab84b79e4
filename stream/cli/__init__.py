"""The command line: every command takes ``--json`` and exits non-zero with one clear line when it fails."""

from __future__ import annotations

import json as jsonlib
import logging
import sys

import typer
from rich.console import Console

from stream.cli import (
    lineage,
    live,
    offline,
    rehearsal,
    rig,
    training,  # noqa: F401  adds its commands to those of models
    why,
)
from stream.cli.bench import app as bench_app
from stream.cli.models import app as models_app
from stream.errors import CytoloopError

app = typer.Typer(
    name="cytoloop",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A microscope drives live analysis, and the analysis drives the microscope.\n\nBegin with: cytoloop demo",
)
for command in (
    live.demo, live.run, live.acquire, live.analyse, live.watch, live.replay,
    offline.simulate, offline.evaluate, rehearsal.rehearse, lineage.lineage, lineage.export, why.why,
    rig.stop, rig.pause, rig.resume, rig.approve, rig.deny,
    offline.doctor,
):  # fmt: skip
    app.command()(command)
app.add_typer(models_app, name="models")
app.add_typer(bench_app, name="bench")


def main() -> None:
    """Run the command line; errors of ours are one clear line on stderr, and with ``--json`` an object on stdout."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        app()
    except CytoloopError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"cytoloop: {error}", markup=False, style="red")
        if "--json" in sys.argv[1:]:
            print(jsonlib.dumps({"error": str(error)}), flush=True)
        sys.exit(1)
