"""How a living cell looks: one or several lobes, each an ellipse with a bend, an outline and an amount of light.

A lobe is a row of ``LOBE``. Optics draw lobes, truth marks them; neither knows why a cell looks as it does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.virtual.cycle import FAINT, FRAGMENTS, SPLIT_UM, Phase, Population, progress, smooth

LOBE = (
    "cell", "x", "y", "long", "short", "cos", "sin", "bend", "w2c", "w2s", "w3c", "w3s", "light", "condensed",
    "tex_u", "tex_v", "body", "round", "true", "phase", "mother", "active",
)  # fmt: skip
COLUMN = {name: i for i, name in enumerate(LOBE)}
Lobes = NDArray[np.float64]
"""(n, len(LOBE)): positions and half axes in µm; ``light`` in units of a young nucleus; ``true`` 0 where too faint."""

PLATE_UM = (5.9, 2.0)
"""Half length and half thickness of a metaphase plate."""
SISTER_UM = (5.2, 1.65)
BEND = 0.22
"""Sister plates curve around their poles: by this part of their half length."""
YOUNG_UM = (4.8, 2.9)
"""Half axes of a nucleus at the end of telophase."""


def lobes(cells: Population, nucleus_um: float) -> Lobes:
    """Return the lobes of ``cells``, in their order."""
    table = _one_each(cells, nucleus_um)
    pairs = cells["phase"] == Phase.ANAPHASE
    dying = cells["phase"] == Phase.DYING
    if not (pairs.any() or dying.any()):
        return table
    parts = [table[~(pairs | dying)]]
    if pairs.any():
        parts.append(_sisters(table[pairs], progress(cells[pairs])))
    if dying.any():
        parts.append(_fragments(table[dying], progress(cells[dying])))
    return np.concatenate(parts)


def _one_each(cells: Population, nucleus_um: float) -> Lobes:
    phase, part = cells["phase"], progress(cells)
    long_um, short_um = _axes(cells, nucleus_um)
    mitosis = phase != Phase.INTERPHASE
    fade = np.where(phase == Phase.LEAVING, 1.0 - smooth(part), 1.0)
    replicated = 1.0 + smooth(np.clip((cells["age"] - 0.35) / 0.45, 0.0, 1.0))
    table = np.zeros((len(cells), len(LOBE)))
    columns: dict[str, NDArray[Any]] = {
        "cell": cells["id"],
        "x": cells["x"],
        "y": cells["y"],
        "long": long_um,
        "short": short_um,
        "cos": np.cos(cells["theta"]),
        "sin": np.sin(cells["theta"]),
        "light": replicated * cells["glow"] * cells["left"] * fade,
        "condensed": np.select(
            [phase == Phase.PROPHASE, phase == Phase.TELOPHASE, mitosis, ~mitosis],
            [smooth(part), 1.0 - 0.5 * part, 1.0, 0.5 * np.exp(-cells["clock_min"] / 20.0)],
        ),
        "tex_u": cells["texture"][:, 0],
        "tex_v": cells["texture"][:, 1],
        "true": fade >= FAINT,
        "phase": phase,
        "mother": cells["mother"],
        "active": cells["active"],
    }
    calm = np.where(mitosis, 0.5, 1.0)
    for i, name in enumerate(("w2c", "w2s", "w3c", "w3s")):
        columns[name] = cells["wobble"][:, i] * calm
    columns["round"] = np.select(
        [phase == Phase.PROPHASE, phase == Phase.TELOPHASE, mitosis, ~mitosis],
        [smooth(part), 1.0 - 0.4 * part, 1.0, 0.6 * np.exp(-cells["clock_min"] / 30.0)],
    )
    columns["body"] = np.select(
        [phase == Phase.TELOPHASE, mitosis], [7.5, 10.0], 16.0 - 7.0 * np.exp(-cells["clock_min"] / 60.0)
    )
    columns["bend"] = np.where(phase == Phase.TELOPHASE, BEND * (1.0 - part), 0.0) * np.where(
        np.sin(cells["axis"] - cells["theta"]) > 0, 1.0, -1.0
    )
    for name, values in columns.items():
        table[:, COLUMN[name]] = values
    return table


def _axes(cells: Population, nucleus_um: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Half axes by phase: an ellipse that grows, rounds up, flattens to a plate, and starts small again."""
    phase, part = cells["phase"], progress(cells)
    radius = nucleus_um / 2 * np.sqrt(cells["size"] * (0.8 + 0.45 * cells["age"]))
    stretch = np.sqrt(cells["aspect"])
    grown = 1.0 - np.exp(-cells["clock_min"] / 22.0)
    long_um = YOUNG_UM[0] + (radius * stretch - YOUNG_UM[0]) * grown
    short_um = YOUNG_UM[1] + (radius / stretch - YOUNG_UM[1]) * grown
    rounded = 1.0 + (np.sqrt(1.04) / stretch - 1.0) * smooth(part)
    shrunk = 1.0 - 0.16 * smooth(part)
    flat = smooth(np.clip(part / 0.45, 0.0, 1.0))
    disc = radius * 0.84
    scale = np.sqrt(cells["size"])
    cases = [phase == Phase.PROPHASE, phase == Phase.METAPHASE, phase == Phase.ANAPHASE, phase == Phase.TELOPHASE]
    sister = part * part
    long_um = np.select(
        cases,
        [
            radius * stretch * rounded * shrunk,
            disc + (PLATE_UM[0] * scale - disc) * flat,
            scale * (PLATE_UM[0] + (SISTER_UM[0] - PLATE_UM[0]) * part),
            scale * SISTER_UM[0] + (YOUNG_UM[0] - scale * SISTER_UM[0]) * part,
        ],
        long_um,
    )
    short_um = np.select(
        cases,
        [
            radius / stretch / rounded * shrunk,
            disc + (PLATE_UM[1] * scale - disc) * flat,
            scale * (PLATE_UM[1] + (SISTER_UM[1] - PLATE_UM[1]) * part),
            scale * SISTER_UM[1] + (YOUNG_UM[1] - scale * SISTER_UM[1]) * sister,
        ],
        short_um,
    )
    return long_um, short_um


def _sisters(table: Lobes, part: NDArray[np.float64]) -> Lobes:
    """Two plates that part across their long axis; each takes half of the light."""
    half_gap = SPLIT_UM / 2 * part
    pair = np.repeat(table, 2, axis=0)
    sign = np.tile([-1.0, 1.0], len(table))
    offset = np.repeat(half_gap, 2) * sign
    pair[:, COLUMN["x"]] -= offset * pair[:, COLUMN["sin"]]
    pair[:, COLUMN["y"]] += offset * pair[:, COLUMN["cos"]]
    pair[:, COLUMN["light"]] /= 2
    pair[:, COLUMN["bend"]] = BEND * sign * np.repeat(part, 2)
    return pair


def _fragments(table: Lobes, part: NDArray[np.float64]) -> Lobes:
    """Shrink and brighten, fall into pieces, fade."""
    shrunk = 1.0 - 0.5 * smooth(np.clip(part / 0.25, 0.0, 1.0))
    broken = smooth(np.clip((part - 0.25) / 0.25, 0.0, 1.0))
    fade = 1.0 - smooth(np.clip((part - 0.45) / 0.55, 0.0, 1.0))
    pieces = np.repeat(table, FRAGMENTS, axis=0)
    which = np.tile(np.arange(FRAGMENTS), len(table))
    turn = pieces[:, COLUMN["tex_u"]] + which * (2 * np.pi / FRAGMENTS) * 1.13
    away = np.repeat(broken, FRAGMENTS) * (2.2 + 0.5 * which)
    size = np.repeat(shrunk * (1.0 - 0.5 * broken), FRAGMENTS) * (1.0 - 0.1 * which * np.repeat(broken, FRAGMENTS))
    pieces[:, COLUMN["x"]] += away * np.cos(turn)
    pieces[:, COLUMN["y"]] += away * np.sin(turn)
    pieces[:, COLUMN["long"]] *= size
    pieces[:, COLUMN["short"]] *= size
    pieces[:, COLUMN["light"]] *= np.repeat(fade, FRAGMENTS) / FRAGMENTS
    pieces[:, COLUMN["condensed"]] = np.repeat(1.0 - shrunk, FRAGMENTS)
    pieces[:, COLUMN["true"]] = np.repeat(fade >= FAINT, FRAGMENTS)
    pieces[:, COLUMN["body"]] *= np.repeat(shrunk, FRAGMENTS)
    return pieces
