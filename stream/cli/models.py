"""Commands about what looks at pixels: list, info, check, export, compile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stream.cli.screen import Json, Screen, lines
from stream.errors import ConfigError, RuntimeUnavailable

app = typer.Typer(no_args_is_help=True, help="What can look at pixels: stages, and the networks that ship.")
Name = Annotated[
    str, typer.Argument(help="A shipped network (see: cytoloop models list) or the path of an .onnx file.")
]

_EXTRA = "pip install 'cytoloop[cpu,train]'"
_SOLD_AS = {"cv2": "opencv-python-headless", "skimage": "scikit-image"}
"""Packages by the name of what they bring, where the two differ."""


def lacking(what: str, error: ImportError) -> ConfigError:
    """Return the error of a command that needs what is not installed, or does not load; it names the package."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return ConfigError(f"{what} needs a package that does not load: {error}; install it anew: {_EXTRA}")
    name = error.name.partition(".")[0]
    sold_as = _SOLD_AS.get(name, name)
    return ConfigError(f"{what} needs {name}, which is not installed: pip install {sold_as}, or all it needs: {_EXTRA}")


@app.command("list")
def list_(json: Json = False) -> None:
    """The stages that a configuration can name, and the networks that ship."""
    from models import zoo
    from stream import plugins

    screen = Screen(json)
    groups: tuple[plugins.Group, ...] = ("denoisers", "segmenters", "trackers", "dividers")
    stages: dict[str, Any] = {group: plugins.describe(group) for group in groups}
    screen.result({**stages, "networks": {name: _network(name) for name in zoo.names()}})


@app.command()
def info(name: Name, json: Json = False) -> None:
    """A network's card: data and terms, how it was made, figures by sequence, known failures, intended use."""
    from models import zoo

    screen = Screen(json)
    model = zoo.path(name)
    if not model.with_suffix(".json").is_file():
        screen.result({"name": model.stem, "file": str(model), "table": zoo.about(model), "card": None})
        return
    card = zoo.card(model)
    plot = str(model.with_name(card.calibration)) if card.calibration else None
    screen.result(
        {**card.model_dump(mode="json"), "file": str(model), "calibration_plot": plot, "table": zoo.about(model)},
        lambda _: card.in_words() + (f"\nCalibration plot: {plot}" if plot else "") + f"\nFile: {model}",
    )


@app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which; or --all.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every network that ships.")] = False,
    runtime: Annotated[list[str] | None, typer.Option(help="Only this one; may be given again.")] = None,
    no_compile: Annotated[bool, typer.Option("--no-compile", help="Without compiling for TensorRT-RTX.")] = False,
    json: Json = False,
) -> None:
    """Open networks with every available runtime and compare them with their stored outputs.

    Also compares the files with the hashes in their cards, and compiles for GPUs that need not be here where
    TensorRT-RTX is installed. Exits 1 when something fails; a runtime that is not installed is a failure only where it
    was asked for with --runtime.
    """
    from models import zoo
    from models.zoo.check import check as check_one

    wanted = list(zoo.names()) if every else list(names or ())
    if not wanted:
        raise ConfigError("no network ships with this version" if every else "name a network, or give --all")
    screen = Screen(json)
    found = []
    for name in wanted:
        screen.say(f"checking {name} …")
        found.append(check_one(name, runtimes=runtime or (), compile_rtx=not no_compile))
    screen.result({"models": found}, lambda value: "\n".join(lines(one) for one in value["models"]))
    if any(one["failures"] for one in found):
        raise typer.Exit(1)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="What training kept: best.pt in its folder.")],
    out: Annotated[Path, typer.Option(help="The folder to write NAME.onnx, NAME.fp16.onnx and NAME.check.npz into.")],
    json: Json = False,
) -> None:
    """Turn a trained network into ONNX files that describe themselves (needs the extra 'train')."""
    from models import zoo

    screen = Screen(json)
    try:
        from models.zoo import pack

        net = pack.read_checkpoint(checkpoint)
        model = pack.export_with_check(net, out)
    except ImportError as error:
        raise lacking("export", error) from error
    files = (model, zoo.half(model), zoo.stored_check(model))
    screen.result({"name": net.spec.name, "files": [str(file) for file in files]})


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(help="The --out of a finished training run.")],
    into: Annotated[Path | None, typer.Option(help="Where to write; default: among the networks that ship.")] = None,
    failure: Annotated[
        list[str] | None, typer.Option(help="A known failure, for the card; may be given again.")
    ] = None,
    intended_use: Annotated[str, typer.Option(help="For the card.")] = "",
    json: Json = False,
) -> None:
    """Make a trained network one that ships: files, stored outputs, hashes and card (needs the extra 'train')."""
    from models import zoo

    try:
        from models.train.ship import ship

        card = ship(folder, intended_use=intended_use, failures=failure or (), into=into or zoo.HERE)
    except ImportError as error:
        raise lacking("packing", error) from error
    Screen(json).result(card.model_dump(mode="json"), lambda _: card.in_words())


@app.command("compile")
def compile_(
    name: Name,
    size: Annotated[list[int] | None, typer.Option(min=32, help="Side in pixels; may be given again.")] = None,
    runtime: Annotated[str | None, typer.Option(help="tensorrt or tensorrt-rtx; default: those that are here.")] = None,
    json: Json = False,
) -> None:
    """Build a network's engines for this machine's GPU into the cache, so that no run waits for them."""
    from models import zoo
    from models.runtime import available, open_session
    from models.zoo import stored

    screen = Screen(json)
    model = zoo.path(name)
    here = available()
    wanted = (runtime,) if runtime else tuple(one for one in ("tensorrt", "tensorrt-rtx") if here.get(one) == "")
    if not wanted:
        why = "; ".join(f"{one}: {here.get(one, 'unknown')}" for one in ("tensorrt", "tensorrt-rtx"))
        raise RuntimeUnavailable(f"no engine can be built on this machine ({why}); other runtimes need none")
    built: list[dict[str, Any]] = []
    for one in wanted:
        for side in size or (512, 1024, 2048):
            screen.say(f"{one}: {side} × {side} …")
            session = open_session(model, stored.square(model, side), runtime=one)
            built.append({"runtime": one, "size": side, "precision": session.precision, "reason": session.reason})
            session.close()
    screen.result({"name": model.stem, "engines": built})


def _network(name: str) -> str:
    """Return one line about a shipped network."""
    from models import zoo
    from stream.errors import CytoloopError

    try:
        card = zoo.card(name)
    except CytoloopError as error:
        return f"not usable: {error}"
    size = f", cells of about {card.object_px:g} px" if card.object_px else ""
    return f"{card.kind}, {card.speed}; {card.parameters:,} parameters{size}; weights: {card.terms}"
