"""Commands about families of cells: print the tree, export it to other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.tree import Tree as Branch

from stream.cli.screen import Json, Screen
from stream.errors import SourceError

Source = Annotated[
    Path, typer.Argument(metavar="RUN_OR_RES", help="The folder of a run, or the --out of cytoloop evaluate.")
]
Field = Annotated[str | None, typer.Option(help="Which field of the run, e.g. Camera:p0; needed where it has several.")]
Interval = Annotated[
    float | None,
    typer.Option("--interval-s", min=0, help="Seconds between frames, where the recording does not know them."),
]
MOST = 40
"""Families that are printed unless all are asked for."""
WIDTH = 200
"""Characters of a line that goes to a file or another program."""


def lineage(
    source: Source,
    track: Annotated[int | None, typer.Option(help="Only the family of this track.")] = None,
    field: Field = None,
    interval_s: Interval = None,
    every: Annotated[bool, typer.Option("--all", help="Also the cells without mother and daughters.")] = False,
    json: Json = False,
) -> None:
    """Who came from whom: mothers, daughters, ages, division times and how alike sisters were.

    Works on a run that goes on, too. A cell is named by its first track. Its age counts from its first frame; "≥" means
    that its birth was not seen. Daughters' area and intensity: the smaller over the larger in their first frames (1:
    alike); intensity is the mean of the raw pixels. A division time (cycle) is known where a cell's birth and its own
    division were both seen.
    """
    from stream.ancestry import grow, told
    from stream.export.recorded import open_recorded

    screen = Screen(json)
    tree = grow(open_recorded(source, field, interval_s=interval_s, places=False).history)
    if track is not None and track not in tree.cell_of:
        raise SourceError(f"{source}: there is no track {track} in {tree.field or 'it'}")
    if json:
        screen.result(told(tree, track))
        return
    if not screen.console.is_terminal:
        screen.console.width = WIDTH
    branches = _branches(tree, track, every)
    for branch in branches[:MOST] if not every else branches:
        screen.console.print(branch, markup=False, soft_wrap=False)
    if not every and len(branches) > MOST:
        screen.say(f"… and {len(branches) - MOST} more families; --all prints them")
    screen.say(_summary(tree))


def export(
    source: Source,
    to: Annotated[Literal["ctc", "geff", "napari"], typer.Option(help="Which form; see above.")],
    out: Annotated[Path, typer.Option(help="What to write; nothing is overwritten.")],
    field: Field = None,
    interval_s: Interval = None,
    pixel_um: Annotated[
        float | None, typer.Option("--pixel-um", min=0, help="Side of a pixel in µm, where the recording is silent.")
    ] = None,
    json: Json = False,
) -> None:
    """A recorded lineage for other programs.

    ctc: a folder of the Cell Tracking Challenge: maskNNN.tif where label images were recorded, and res_track.txt
    (label, first frame, last frame, parent).

    geff: the graph exchange file format, a Zarr group with positions, times, edges, units and the probability of each
    division. In Python: graph, about = geff.read("PATH"); in napari: the plugin napari-geff. Needs the extra 'export'.

    napari: an .npz of the tracks layer with its graph; the line that opens it in napari's console is printed.
    """
    from stream.export.recorded import open_recorded
    from stream.export.write import write

    found = open_recorded(source, field, interval_s=interval_s, pixel_um=pixel_um)
    Screen(json).result(write(found, to, out))


def _branches(tree: Any, track: int | None, every: bool) -> list[Branch]:
    from stream.ancestry import in_words

    lives = tree.family(track) if track is not None else list(tree.lives.values())
    whole = every or track is not None
    shown = [life for life in lives if whole or life.parent_id or life.daughter_ids]
    branches: dict[int, Branch] = {}
    roots = []
    for life in shown:
        names = " then ".join(map(str, life.track_ids))
        words = f"cell {names}{' ←' if track in life.track_ids else ''}: {in_words(life)}"
        mother = branches.get(life.parent_id)
        branches[life.cell_id] = mother.add(words) if mother else Branch(words)
        if mother is None:
            roots.append(branches[life.cell_id])
    return roots


def _summary(tree: Any) -> str:
    from stream.ancestry import figures, in_time

    said = figures(tree)
    place = f"{tree.field or 'the recording'} after frame {tree.frame}"
    lines = [
        f"{place}: {said['cells']} cells, {said['divisions']} divisions, {said['generations']} generations in a row"
    ]
    if said["whole_cycles"]:
        lines.append(
            f"division time, median of {said['whole_cycles']} cells whose birth and division were both seen: "
            f"{said['median_cycle_frames']:g} frames{in_time(said['median_cycle_s'])}"
        )
    return "\n".join(lines)
