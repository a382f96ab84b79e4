"""The command line: every command takes ``--json`` and exits non-zero with one clear line when it fails."""

from __future__ import annotations

import json as jsonlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from stream.command import Action, Pause, Resume, Stop
from stream.config import Configuration, load
from stream.errors import ConfigError, CytoloopError

app = typer.Typer(
    name="cytoloop",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A microscope drives live analysis, and the analysis drives the microscope.\n\nBegin with: cytoloop demo",
)
models_app = typer.Typer(no_args_is_help=True, help="What can look at pixels.")
app.add_typer(models_app, name="models")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="See deploy/examples for complete ones.")]
Into = Annotated[Path | None, typer.Option(help="Join another node's run folder on this machine; default: a new one.")]
Seconds = Annotated[
    float | None, typer.Option(min=1, help="Stop after so many seconds of imaging; default: at its end.")
]


RunningRig = Annotated[
    str | None, typer.Argument(help="A run folder, a configuration, or a control address; default: the newest run.")
]


class Screen:
    """Prints for a person; with ``--json`` to stderr, so that stdout ends with the object."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(stderr=as_json, highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """Print a line."""
        self.console.print(line, markup=False)

    def result(self, value: dict[str, Any], table: Callable[[dict[str, Any]], str] | None = None) -> None:
        """Print the result: as JSON, or as a person reads it."""
        if self.as_json:
            print(jsonlib.dumps(value, default=str), flush=True)
        else:
            self.say(table(value) if table else _lines(value))


_LINE = 60
"""Characters of a list that is printed in one line."""


def _lines(value: dict[str, Any], indent: str = "") -> str:
    rows: list[str] = []
    for key, item in value.items():
        if isinstance(item, dict):
            rows += [f"{indent}{key}:", _lines(item, indent + "  ")] if item else [f"{indent}{key}: none"]
        elif isinstance(item, list | tuple):
            one_line = ", ".join(map(str, item)) or "none"
            fits = len(one_line) <= _LINE or not item
            rows += [f"{indent}{key}: {one_line}"] if fits else [f"{indent}{key}:", *(f"{indent}  {x}" for x in item)]
        else:
            rows.append(f"{indent}{key}: {item}")
    return "\n".join(rows)


def _failed(report_error: str) -> None:
    """End with the run's own error."""
    if report_error:
        raise CytoloopError(report_error)


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a request to stop; the second one is as hard as ever."""
    stop = threading.Event()

    def ask(_signal: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, ask)
    terminate = signal.signal(signal.SIGTERM, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, terminate)


def _run_nodes(
    config: Configuration, base: Path, screen: Screen, seconds: float | None, page: bool = True
) -> dict[str, Any]:
    from stream import session
    from stream.facts.questions import summary

    screen.say("starting; the first time on a machine the stages are compiled, which takes about a minute …")
    nodes = ("acquire", "analyse", "watch") if page else ("acquire", "analyse")
    with _ctrl_c() as stop:
        report = session.run(config, base, nodes, seconds=seconds, say=screen.say, stop=stop)
    _failed(report.error)
    return {**summary(report.run_dir), "startup_s": round(report.startup_s, 2), "run_dir": str(report.run_dir)}


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(min=5, help="How long to image.")] = 60,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the live page.")] = False,
    json: Json = False,
) -> None:
    """The whole loop on the virtual microscope: cells, divisions, commands, and what was found against the truth."""
    from stream import demo as demonstration

    screen = Screen(json)
    with _ctrl_c() as stop:
        result = demonstration.run(seconds, browser=not no_browser, say=screen.say, stop=stop)
    screen.result(result, demonstration.in_words)


@app.command()
def run(
    config: ConfigFile,
    seconds: Seconds = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Without the live page.")] = False,
    json: Json = False,
) -> None:
    """All nodes on this machine, supervised: a node that dies is started again and the run goes on."""
    screen = Screen(json)
    screen.result(_run_nodes(load(config), config.parent.resolve(), screen, seconds, not no_page))


def _one_node(name: str, config: Path, into: Path | None, json: bool) -> None:
    from stream.facts import run_folder
    from stream.nodes import log_to, run_here
    from stream.surroundings import Surroundings

    screen = Screen(json)
    settings = load(config)
    for wire, address in (("frames", settings.wire.frames), ("control", settings.wire.control)):
        if address.endswith(":0"):
            raise ConfigError(f"[wire] {wire} = '{address}': nodes that start apart need a fixed port to meet at")
    run_dir = into or run_folder.create(settings)
    if into is not None and not (into / run_folder.CONFIGURATION_FILE).is_file():
        raise ConfigError(f"{into} is no run folder; leave --into out to begin a new one")
    log_to(run_dir, name)
    errors: list[str] = []

    def report(word: str, detail: Any) -> None:
        screen.say(f"{name} {word}: {detail}")
        if word == "error":
            errors.append(str(detail))

    with _ctrl_c() as stop:
        status = run_here(name, settings, Surroundings(run_dir, report, stop, config.parent.resolve()))
    if status:
        raise CytoloopError(errors[0] if errors else f"{name} ended with status {status}")
    screen.result({"node": name, "run_dir": str(run_dir)})


@app.command()
def acquire(config: ConfigFile, into: Into = None, json: Json = False) -> None:
    """The rig's node alone: camera, command desk, guard."""
    _one_node("acquire", config, into, json)


@app.command()
def analyse(config: ConfigFile, into: Into = None, json: Json = False) -> None:
    """The pipeline's node alone: denoise, segment, track, divide, policies."""
    _one_node("analyse", config, into, json)


@app.command()
def watch(config: ConfigFile, into: Into = None, json: Json = False) -> None:
    """The live page's node alone."""
    _one_node("watch", config, into, json)


@app.command()
def replay(
    source: Annotated[Path, typer.Argument(help="A folder of numbered images, a TIFF stack or an OME-Zarr.")],
    speed: Annotated[str, typer.Option(help="real, max, or frames a second.")] = "real",
    config: Annotated[
        Path | None, typer.Option(help="Chain, feedback and page settings; its camera is replaced.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The segmenter; see: cytoloop models list.")] = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Without the live page.")] = False,
    json: Json = False,
) -> None:
    """A recording as if it were live: same nodes, same pipeline, same page."""
    screen = Screen(json)
    settings = load(config) if config else Configuration()
    base = config.parent.resolve() if config else Path.cwd()
    rate: str | float = speed if speed in ("real", "max") else float(_number(speed))
    camera = settings.camera.model_copy(
        update={"driver": "replay", "options": {"source": str(source.resolve()), "speed": rate}}
    )
    chain = settings.chain.model_copy(update={"segment": model}) if model else settings.chain
    settings = settings.model_copy(update={"camera": camera, "chain": chain})
    screen.result(_run_nodes(settings, base, screen, None, not no_page))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--speed {text}: give real, max or a number of frames a second") from None


@app.command()
def simulate(
    config: ConfigFile,
    out: Annotated[Path, typer.Option(help="The folder to write: 01, 01_GT, 01_ST.")],
    frames: Annotated[int, typer.Option(min=1)] = 100,
    seed: Annotated[int, typer.Option()] = 0,
    json: Json = False,
) -> None:
    """A virtual movie with its exact truth, as a Cell Tracking Challenge folder."""
    from stream.simulate import simulate as simulate_movie

    screen = Screen(json)
    screen.result(simulate_movie(load(config), out, frames, seed))


@app.command()
def evaluate(
    source: Annotated[Path, typer.Argument(help="A folder of numbered images, a TIFF stack or an OME-Zarr.")],
    out: Annotated[Path, typer.Option(help="Where masks, res_track.txt and events.jsonl go.")],
    model: Annotated[str | None, typer.Option(help="The segmenter; default: chosen from the first frame.")] = None,
    gt: Annotated[Path | None, typer.Option(help="Truth: NN_GT, or its TRA or SEG.")] = None,
    st: Annotated[Path | None, typer.Option(help="Computed masks: NN_ST, or its SEG.")] = None,
    json: Json = False,
) -> None:
    """Run a recording through the chain, causally, frame by frame, and score it where truth is given."""
    from stream.evaluate import evaluate as evaluate_source

    screen = Screen(json)
    screen.result(evaluate_source(source, out, model=model, gt=gt, st=st, progress=not json))


def _ask(rig: str | None, action: Action, json: bool) -> None:
    from stream.session import ask_rig, control_address

    screen = Screen(json)
    address = control_address(rig)
    answer = ask_rig(address, action)
    screen.result({"control": address, "answer": answer})
    if answer != "applied":
        raise typer.Exit(1)


@app.command()
def stop(rig: RunningRig = None, json: Json = False) -> None:
    """Stop a running rig by message; frames already taken stay."""
    _ask(rig, Stop(), json)


@app.command()
def pause(rig: RunningRig = None, json: Json = False) -> None:
    """Let a running rig take no frames until it is resumed."""
    _ask(rig, Pause(), json)


@app.command()
def resume(rig: RunningRig = None, json: Json = False) -> None:
    """Let a paused rig go on, whoever paused it."""
    _ask(rig, Resume(), json)


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Argument(help="Check this configuration without moving anything.")] = None,
    json: Json = False,
) -> None:
    """What is installed, what would run, and what is missing; exits non-zero when something is broken."""
    from stream.doctor import examine

    screen = Screen(json)
    found = examine(config)
    screen.result(found)
    if found["problems"]:
        raise typer.Exit(1)


@models_app.command("list")
def models_list(json: Json = False) -> None:
    """The segmenters, denoisers and trackers that a configuration can name."""
    from stream import plugins

    screen = Screen(json)
    groups: tuple[plugins.Group, ...] = ("denoisers", "segmenters", "trackers", "dividers")
    screen.result({group: plugins.describe(group) for group in groups})


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


if __name__ == "__main__":
    main()
