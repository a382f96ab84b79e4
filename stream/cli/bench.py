"""Measurements on this machine."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stream.cli.screen import Json, Screen
from stream.errors import ConfigError

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="What this machine can do.")
_COLUMNS = "{:<14}{:>6}  {:<14}{:<6}{:>9}{:>9}{:>9}{:>9}{:>7}{:>8}{:>10}{:>9}"

_LOOP_COLUMNS = "{:<8}{:<9}{:<16}{:>9}{:>9}{:>9}{:>9}{:>9}"


@app.command()
def inference(
    model: Annotated[
        list[str] | None, typer.Option(help="A network; may be given again. Default: all shipped.")
    ] = None,
    size: Annotated[list[int] | None, typer.Option(help="Side in pixels; default 512, 1024, 2048.")] = None,
    runtime: Annotated[list[str] | None, typer.Option(help="Default: every one that is available.")] = None,
    precision: Annotated[str, typer.Option(help="auto, bf16, fp16 or fp32; the reference is always fp32.")] = "auto",
    runs: Annotated[int, typer.Option(min=1, help="Frames for each network, size and runtime, at most.")] = 30,
    seconds: Annotated[float, typer.Option(min=0, help="Time for each network and size, after 3 frames.")] = 8.0,
    json: Json = False,
) -> None:
    """Time networks and decoding on frames of drawn cells: about 800 at 1024 × 1024.

    All runtimes of one network and size take turns, frame by frame. ratio_to_ort_fp32: the median network time by
    that of onnxruntime in float32, in the same run. parity: the largest absolute difference of any output value from
    onnxruntime's in float32 on the same input (probabilities are 0 to 1, offsets are in pixels). parity_labels: of the
    pixels in a cell of either label image, the share that is in the same cell of both. decode_ratio_to_skimage, at
    1024: the median time from outputs to measured cells by that of peak_local_max, watershed and regionprops_table.
    """
    try:
        from stream.bench.inference import SIZES, Plan
        from stream.bench.inference import inference as measure
    except ImportError as error:
        raise ConfigError(f"a package is not installed: {error}; pip install cytoloop[cpu]") from error

    screen = Screen(json)
    progress = Screen(as_json=True)
    plan = Plan(tuple(model or ()), tuple(size or SIZES), tuple(runtime or ()), precision, runs, seconds)
    screen.result(measure(plan, progress.say), _table)


def _table(found: dict[str, Any]) -> str:
    heads = ("model", "size", "runtime", "", "net p50", "p99", "dec p50", "p99", "cells", "/ ort", "parity", "labels")
    rows = [_COLUMNS.format(*heads)]
    for one in found["runs"]:
        times = [f"{one[part][name]:.1f}" for part in ("network_ms", "decode_ms") for name in ("p50", "p99")]
        against = [
            _number(one[name], places)
            for name, places in (("ratio_to_ort_fp32", 2), ("parity", 4), ("parity_labels", 4))
        ]
        rows.append(
            _COLUMNS.format(one["model"], one["size"], one["runtime"], one["precision"], *times, one["cells"], *against)
        )
    usual = [one["decode_ratio_to_skimage"] for one in found["runs"] if one["decode_ratio_to_skimage"] is not None]
    if usual:
        rows.append(f"decoding at 1024 takes {min(usual):.3f} to {max(usual):.3f} of skimage's post-processing")
    rows += [f"not measured: {name}: {why}" for part in ("left_out", "failed") for name, why in found[part].items()]
    return "\n".join(rows)


@app.command()
def loop(
    commands: Annotated[int, typer.Option(min=1, help="Commands for each rig and mode.")] = 500,
    seed: Annotated[int, typer.Option(help="Of the mix of commands.")] = 0,
    only: Annotated[str | None, typer.Option(help="stream or mda; default: both.")] = None,
    rig: Annotated[str | None, typer.Option(help="democam or virtual; default: both.")] = None,
    json: Json = False,
) -> None:
    """Time the loop: from a command that is sent to the frame that shows it, on two rigs in two modes.

    The rig is a node in a process of its own with its control port, desk, guard and facts on disk; commands of many
    kinds are sent to it as an analysis sends them. boundary_ms: waiting for the frame boundary. device_ms: calls to the
    core. bare_device_ms: the same calls, made after each command by another process to devices of its own with nothing
    of ours between. beside_device_ms: total - boundary - device, of each command. total_ms: from arrival at the rig to
    the effect. to_first_frame_ms: from arrival to the frame that shows it. asked_ms, beside_asked_ms: the same, from
    sending to final answer, by the sender's clock. device_ratio: device_ms by bare_device_ms: of_kinds, each
    command as long as the median of its kind; p50, of those whose bare calls take half a millisecond or more; of_sums.
    """
    from stream.bench.loop import MODES, RIGS, LoopPlan
    from stream.bench.loop import loop as measure

    modes = tuple(mode for mode in MODES if only in (None, mode))
    rigs = tuple(name for name in RIGS if rig in (None, name))
    if not modes or not rigs:
        raise ConfigError(f"--only is one of {', '.join(MODES)} and --rig one of {', '.join(RIGS)}")
    screen, progress = Screen(json), Screen(as_json=True)
    screen.result(measure(LoopPlan(commands, seed, modes, rigs), progress.say), _loop_table)


def _loop_table(found: dict[str, Any]) -> str:
    rows = [_LOOP_COLUMNS.format("mode", "rig", "ms", "commands", "least", "p50", "p95", "p99")]
    for mode, rigs in found.items():
        for rig, one in rigs.items():
            for name, times in one.items():
                if name.endswith("_ms") and times:
                    rows.append(
                        _LOOP_COLUMNS.format(
                            mode, rig, name.removesuffix("_ms"), one["commands"], *(f"{t:.2f}" for t in times.values())
                        )
                    )
            ratio = one["device_ratio"] or {"p50": "none", "of_kinds": "none", "of": 0}
            rows.append(
                f"{mode:<8}{rig:<9}device / bare: {ratio['of_kinds']}, {ratio['p50']} in the {ratio['of']} long ones"
            )
            rows += [f"{mode:<8}{rig:<9}missed: {name}" for name, kept in one["kept"].items() if kept is False]
            rows += [f"{mode:<8}{rig:<9}not applied: {kind}: {why}" for kind, why in one["refused"].items()]
    return "\n".join(rows)


def _number(value: float | None, places: int) -> str:
    return "none" if value is None else f"{value:.{places}f}"
