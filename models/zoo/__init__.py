"""The networks that ship with cytoloop, by name, each with its card; and a user's own, by path.

For a network NAME there lie here: ``NAME.onnx`` (float32), ``NAME.fp16.onnx`` (the same in half precision),
``NAME.check.npz`` (stored inputs and reference outputs), ``NAME.json`` (the card) and ``NAME.md`` (the card to read).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.spec import PROPERTY, NetSpec
from models.zoo.card import Card
from models.zoo.metadata import properties
from stream.errors import ConfigError, StageError

HERE = Path(__file__).parent
HALF = ".fp16.onnx"
CELLS = "cells"
"""The task of the networks that :mod:`models.spec` describes; others name theirs in their table."""


def names(task: str | None = None) -> Sequence[str]:
    """Return the names of the shipped networks, sorted; with ``task`` ("cells", "denoise") only those."""
    found = sorted(file.stem for file in HERE.glob("*.onnx") if not file.name.endswith(HALF))
    return tuple(name for name in found if task is None or _is_for(HERE / f"{name}.onnx", task))


def path(name: str | Path) -> Path:
    """Return the float32 file of a shipped network, or of a user's own given by its path.

    Raises
    ------
    ConfigError
        There is no such network (the nearest name is given), no such file, or it is the file in half precision.
    """
    text = str(name)
    if text.endswith(HALF):
        raise ConfigError(
            f"model '{text}': name the float32 file, {text.removesuffix(HALF)}.onnx; runtimes find {HALF}"
        )
    if text.endswith(".onnx"):
        if not Path(text).is_file():
            raise ConfigError(f"model '{text}': there is no such file")
        return Path(text)
    known = names()
    if text in known:
        return HERE / f"{text}.onnx"
    near = difflib.get_close_matches(text, known, n=1)
    hint = (
        f"did you mean '{near[0]}'?" if near else f"shipped: {', '.join(known) or 'none'}; or the path of an .onnx file"
    )
    raise ConfigError(f"no network is called '{text}'; {hint}")


def half(model: Path) -> Path:
    """Return where the half-precision file of a network lies, whether it is there or not."""
    return model.with_name(model.stem + HALF)


def stored_check(model: Path) -> Path:
    """Return where the stored inputs and outputs of a network lie, whether they are there or not."""
    return model.with_name(f"{model.stem}.check.npz")


def about(model: Path) -> dict[str, Any]:
    """Return the table that a network carries. Raises StageError for a file that is torn or not ours."""
    text = properties(model).get(PROPERTY)
    if text is None:
        raise StageError(f"{model}: no cytoloop network: it has no '{PROPERTY}' entry; export it with cytoloop")
    try:
        table = json.loads(text)
    except ValueError as error:
        raise StageError(f"{model}: its '{PROPERTY}' table is unreadable ({error})") from error
    if not isinstance(table, dict):
        raise StageError(f"{model}: its '{PROPERTY}' table is no table")
    return table


def task_of(model: Path) -> str:
    """Return what a network is for: "cells" or "denoise"."""
    return str(about(model).get("task", CELLS))


def _is_for(model: Path, task: str) -> bool:
    try:
        return task_of(model) == task
    except StageError:
        return False  # torn: whoever names it is told, the others still work


def spec(model: Path) -> NetSpec:
    """Return what a cell network says about itself. Raises StageError, also for a network with another task."""
    table = about(model)
    if table.get("task", CELLS) != CELLS:
        raise StageError(f"{model}: a network for the task '{table['task']}', not one that finds cells")
    try:
        return NetSpec.from_json(json.dumps(table))
    except StageError as error:
        raise StageError(f"{model}: {error}") from error


def card(name: str | Path) -> Card:
    """Return the card of a network. Raises ConfigError for an unknown name, StageError without a readable card."""
    return Card.read(path(name).with_suffix(".json"))
