"""Measurements on this machine."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stream.cli.screen import Json, Screen
from stream.errors import ConfigError

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="What this machine can do.")
_COLUMNS = "{:<14}{:>6}  {:<14}{:<6}{:>9}{:>9}{:>9}{:>9}{:>7}{:>8}{:>10}{:>9}"


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


def _number(value: float | None, places: int) -> str:
    return "none" if value is None else f"{value:.{places}f}"
