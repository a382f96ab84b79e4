"""A cell network that describes itself, both files, in milliseconds; and what its card says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from models.spec import PROPERTY, NetSpec
from models.zoo.card import Card, Data, Training
from models.zoo.pack import pack
from tests.models.runtime import small_net

FIELDS: dict[str, Any] = {
    "data": [Data(name="drawn cells", terms="CC0", use="nothing was learnt")],
    "terms": "CC0",
    "seed": 3,
    "command": "cytoloop models train none.toml --out none",
    "training": Training(steps=0, minutes=0.0, validation="None was held out."),
    "failures": ["sees | nothing"],
    "intended_use": "Tests.",
}


def network(path: Path, **spec: Any) -> NetSpec:
    """Write ``NAME.onnx`` and ``NAME.fp16.onnx`` and return what they say about themselves."""
    table = NetSpec(**{"name": path.stem, "kind": "nuclei", "object_px": 26.0, **spec})
    for file, half in ((path, False), (path.with_name(f"{path.stem}.fp16.onnx"), True)):
        small_net.write(file, half=half)
        describe(file, table.to_json())
    return table


def describe(file: Path, table: str) -> None:
    """Write a table into an ONNX file, in place of what it said before."""
    model = onnx.load(file)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {"other": "words", PROPERTY: table})
    onnx.save(model, file)


def packed(folder: Path, name: str = "small", **fields: Any) -> tuple[Path, Card]:
    """Pack a network into a folder and return its file and its card."""
    (folder / "made").mkdir(parents=True)
    network(folder / "made" / f"{name}.onnx")
    card = pack(folder / "made" / f"{name}.onnx", folder=folder / "zoo", **{**FIELDS, **fields})
    return folder / "zoo" / f"{name}.onnx", card
