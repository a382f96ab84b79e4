"""Turns a trained network into what ships: both ONNX files, stored outputs for the self-check, and its card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models import zoo
from models.zoo.card import Card, Data, Figure, Training, sha256
from stream.errors import StageError

if TYPE_CHECKING:
    from models.nets.cellnet import CellNet

Arrays = Mapping[str, NDArray[np.float32]]
MOST_BYTES = 8_000_000
"""A shipped file is smaller."""
CHECK_PX = 96
"""Side of the stored check images of a cell network."""


def pack(
    source: CellNet | Path,
    *,
    data: Sequence[Data],
    terms: str,
    seed: int,
    command: str,
    training: Training,
    failures: Sequence[str],
    intended_use: str,
    figures: Sequence[Figure] = (),
    calibration: str = "",
    inputs: Arrays | None = None,
    folder: Path = zoo.HERE,
) -> Card:
    """Write a network's files into the zoo and return its card.

    Parameters
    ----------
    source
        A network; a checkpoint that :func:`models.nets.checkpoint.read` reads; or ``NAME.onnx`` with ``NAME.fp16.onnx``
        beside it. Cell networks name themselves in their table, others are named by their file.
    inputs
        What the stored outputs are made from, by the name of the graph's input, sides at most 128; None: a small scene
        of cells, for a cell network.

    Raises
    ------
    StageError
        A file is missing, not ours or of 8 MB and more.
    """
    model = _written(source, folder)
    write_check(model, check_inputs(zoo.spec(model).kind) if inputs is None else inputs)
    files = [model, zoo.half(model)]
    for file in files:
        if file.stat().st_size >= MOST_BYTES:
            raise StageError(f"{file}: {file.stat().st_size / 1e6:.1f} MB; what ships stays below {MOST_BYTES / 1e6:g}")
    card = Card(
        name=model.stem, **_described(model), parameters=_parameters(model), sha256={f.name: sha256(f) for f in files},
        data=tuple(data), terms=terms, seed=seed, command=command, training=training, figures=tuple(figures),
        calibration=calibration, failures=tuple(failures), intended_use=intended_use,
    )  # fmt: skip
    card.write(folder)
    return card


def check_inputs(kind: str) -> dict[str, NDArray[np.float32]]:
    """Return two small frames of cells with their levels, as a cell network takes them."""
    from models.normalise import levels
    from models.spec import NORMALISATIONS
    from models.zoo.scene import scene

    frames = scene(kind, CHECK_PX, object_px=26.0, seed=7)
    pairs = np.array([levels(frame, NORMALISATIONS[kind]) for frame in frames], np.float32)  # type: ignore[index]
    return {"frames": frames[None], "offset": pairs[None, :, 0].copy(), "scale": pairs[None, :, 1].copy()}


def write_check(model: Path, inputs: Arrays) -> Path:
    """Store inputs and the outputs that onnxruntime gives for them in float32, as ``in_NAME`` and ``out_NAME``."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    wanted = [one.name for one in session.get_inputs()]
    if sorted(wanted) != sorted(inputs):
        raise StageError(f"{model}: takes {', '.join(wanted)}; inputs were given for {', '.join(inputs) or 'none'}")
    given = {name: np.ascontiguousarray(inputs[name], np.float32) for name in wanted}
    made = session.run(None, given)
    arrays: dict[str, Any] = {f"in_{name}": array for name, array in given.items()}
    arrays |= {f"out_{one.name}": array for one, array in zip(session.get_outputs(), made, strict=True)}
    path = zoo.stored_check(model)
    np.savez_compressed(path, **arrays)
    return path


def _written(source: CellNet | Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(source, Path) and source.suffix == ".onnx":
        target = folder / source.name
        for file in (source, zoo.half(source)):
            if not file.is_file():
                raise StageError(f"{file}: there is no such file; a network is packed with both of its files")
            if file.resolve() != (folder / file.name).resolve():
                shutil.copyfile(file, folder / file.name)
        return target
    from models.nets.checkpoint import read
    from models.nets.export import export

    net = read(source) if isinstance(source, Path) else source
    target = folder / f"{net.spec.name}.onnx"
    export(net, target)
    export(net, zoo.half(target), half=True)
    return target


def _described(model: Path) -> dict[str, Any]:
    if zoo.task_of(model) != zoo.CELLS:
        return {"kind": zoo.task_of(model), "speed": "quality"}
    spec = zoo.spec(model)
    return {"kind": spec.kind, "speed": "fast" if spec.fast else "quality", "object_px": spec.object_px}


def _parameters(model: Path) -> int:
    """Return how many weights the graph holds."""
    import onnx

    graph = onnx.load(model).graph
    return sum(int(np.prod(tensor.dims)) for tensor in graph.initializer if len(tensor.dims))
