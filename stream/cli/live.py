"""Commands that run nodes: a demonstration, a whole rig, one node of it, a recording as if it were live."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from stream.cli.screen import ConfigFile, Json, Screen, ctrl_c
from stream.config import Configuration, load
from stream.errors import ConfigError, CytoloopError, StoreError

Into = Annotated[Path | None, typer.Option(help="Join another node's run folder on this machine; default: a new one.")]
Seconds = Annotated[
    float | None, typer.Option(min=1, help="Stop after so many seconds of imaging; default: at its end.")
]

_MEETS = {
    "acquire": ("frames", "control"),
    "analyse": ("frames", "control", "results"),
    "watch": ("frames", "control", "results"),
}
"""The addresses of [wire] at which a node that starts apart meets the others."""


def demo(
    seconds: Annotated[float, typer.Option(min=5, help="How long to image.")] = 60,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the live page.")] = False,
    json: Json = False,
) -> None:
    """The whole loop on the virtual microscope: cells, divisions, commands, and what was found against the truth."""
    from stream import demo as demonstration

    screen = Screen(json)
    with ctrl_c() as stop:
        result = demonstration.run(seconds, browser=not no_browser, say=screen.say, stop=stop)
    screen.result(result, demonstration.in_words)


def run(
    config: ConfigFile,
    seconds: Seconds = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Without the live page.")] = False,
    json: Json = False,
) -> None:
    """All nodes on this machine, supervised: a node that dies is started again and the run goes on."""
    screen = Screen(json)
    screen.result(_run_nodes(load(config), config.parent.resolve(), screen, seconds, not no_page))


def acquire(config: ConfigFile, into: Into = None, json: Json = False) -> None:
    """The rig's node alone: camera, command desk, guard."""
    _one_node("acquire", config, into, json)


def analyse(config: ConfigFile, into: Into = None, json: Json = False) -> None:
    """The pipeline's node alone: denoise, segment, track, divide, policies."""
    _one_node("analyse", config, into, json)


def watch(config: ConfigFile, into: Into = None, json: Json = False) -> None:
    """The live page's node alone."""
    _one_node("watch", config, into, json)


def replay(
    source: Annotated[Path, typer.Argument(help="A folder of numbered images, a TIFF stack or an OME-Zarr.")],
    speed: Annotated[str, typer.Option(help="real, max, or time points a second.")] = "real",
    config: Annotated[
        Path | None, typer.Option(help="Chain, feedback and page settings; its camera is replaced.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The segmenter; see: cytoloop models list.")] = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Without the live page.")] = False,
    json: Json = False,
) -> None:
    """A recording as if it were live: same nodes, same pipeline, same page. It waits where the analysis is slower."""
    screen = Screen(json)
    settings = load(config) if config else Configuration()
    base = config.parent.resolve() if config else Path.cwd()
    camera = settings.camera.model_copy(
        update={"driver": "replay", "options": {"source": str(source.resolve()), "speed": _speed(speed)}}
    )
    chain = settings.chain.model_copy(update={"segment": model}) if model else settings.chain
    settings = settings.model_copy(update={"camera": camera, "chain": chain})
    screen.result(_run_nodes(settings, base, screen, None, not no_page))


def _run_nodes(
    config: Configuration, base: Path, screen: Screen, seconds: float | None, page: bool = True
) -> dict[str, Any]:
    from stream import session
    from stream.facts import rig
    from stream.facts.questions import summary

    screen.say("starting; the first time on a machine the stages are compiled, which takes about a minute …")
    nodes = ("acquire", "analyse", "watch") if page else ("acquire", "analyse")
    with ctrl_c() as stop:
        report = session.run(config, base, nodes, seconds=seconds, say=screen.say, stop=stop)
    if report.error:
        raise CytoloopError(report.error)
    if not (report.run_dir / rig.FILE).is_file():
        raise StoreError(f"{report.run_dir}: the run went to its end, but NOTHING was recorded: the disk had no room")
    found = summary(report.run_dir)
    if found["lost"]:
        screen.say(_lost_in_words(found["lost"], found["frames"]))
    return {**found, "startup_s": round(report.startup_s, 2), "run_dir": str(report.run_dir)}


def _lost_in_words(lost: Mapping[str, int], frames: int) -> str:
    """Say what never reached a decision, and why.

    >>> _lost_in_words({"wire.overflow": 888, "driver.corrupt": 1}, 1500)
    'LOST: 889 frames never reached a decision, of 1500 time points: 888 wire.overflow, 1 driver.corrupt'
    """
    causes = ", ".join(f"{count} {cause}" for cause, count in lost.items())
    return f"LOST: {sum(lost.values())} frames never reached a decision, of {frames} time points: {causes}"


def _one_node(name: str, config: Path, into: Path | None, json: bool) -> None:
    from stream.facts import run_folder
    from stream.nodes import log_to, run_here
    from stream.surroundings import Surroundings

    screen = Screen(json)
    settings = load(config)
    for wire in _MEETS[name]:
        address = getattr(settings.wire, wire)
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

    with ctrl_c() as stop:
        status = run_here(name, settings, Surroundings(run_dir, report, stop, config.parent.resolve()))
    if status:
        raise CytoloopError(errors[0] if errors else f"{name} ended with status {status}")
    screen.result({"node": name, "run_dir": str(run_dir)})


def _speed(text: str) -> str | float:
    """Read ``--speed``. Raises ConfigError."""
    if text in ("real", "max"):
        return text
    with suppress(ValueError):
        speed = float(text)
        if math.isfinite(speed) and speed > 0:
            return speed
    raise ConfigError(f"--speed {text}: give real, max or a number of time points a second above 0")
