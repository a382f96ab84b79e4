"""Turns a trained network into what ships: both ONNX files, stored outputs for the self-check, and its card."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models import zoo
from models.zoo import stored
from models.zoo.card import Card, Data, Figure, Training, sha256
from stream.errors import RuntimeUnavailable, StageError

if TYPE_CHECKING:
    from models.nets.cellnet import CellNet

MOST_BYTES = 8_000_000
"""A shipped file is smaller."""


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
    inputs: stored.Arrays | None = None,
    folder: Path = zoo.HERE,
) -> Card:
    """Write a network's files into the zoo and return its card.

    Parameters
    ----------
    source
        A network; the file of one that training kept (``best.pt``); or ``NAME.onnx`` with ``NAME.fp16.onnx`` beside it.
        Cell networks name themselves in their table, others are named by their file.
    inputs
        What the stored outputs are made from, by the name of the graph's input, sides at most 128, and nothing that
        may not be passed on; None: a small scene of drawn cells.

    Raises
    ------
    StageError
        A file is missing, not ours or of 8 MB and more, or the two precisions are not the same network.
    """
    model = _written(source, folder)
    store_check(model, inputs)
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


def read_checkpoint(path: Path) -> CellNet:
    """Return the network that training kept. Raises StageError for a file that is missing, torn or not ours."""
    from models.train.weights import load_net

    try:
        return load_net(path)
    except OSError as error:
        raise StageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise StageError(f"{path}: not a network that training kept, as best.pt ({reason})") from error


def export_both(net: CellNet, folder: Path) -> Path:
    """Write ``NAME.onnx`` and ``NAME.fp16.onnx`` into a folder and return the first."""
    from models.nets.export import export

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{net.spec.name}.onnx"
    export(net, target)
    export(net, zoo.half(target), half=True)
    return target


def export_with_check(net: CellNet, folder: Path) -> Path:
    """Write both files of a network and its stored outputs into a folder, as a user has them; return the first."""
    model = export_both(net, folder)
    stored.write(model, stored.drawn_inputs(model), zoo.stored_check(model))
    return model


def store_check(model: Path, inputs: stored.Arrays | None = None) -> None:
    """Store inputs and outputs of a network anew, None: of drawn frames, and compare its half with them.

    Raises StageError where the two precisions are not the same network.
    """
    stored.write(model, stored.drawn_inputs(model) if inputs is None else inputs, zoo.stored_check(model))
    check_half(model)


def check_half(model: Path) -> None:
    """Run the half-precision file on the stored inputs. Raises StageError where it is further off than rounding."""
    from models.runtime.onnxruntime import open_onnxruntime
    from models.runtime.selfcheck import compare

    inputs, wanted = stored.read(zoo.stored_check(model))
    session = open_onnxruntime(zoo.half(model), {name: array.shape for name, array in inputs.items()}, "fp32")
    session.precision = "fp16"
    try:
        compare(session.run(*inputs.values()), list(wanted.values()), session)
    except RuntimeUnavailable as error:
        raise StageError(f"{zoo.half(model)} is not the same network: {error}") from error
    finally:
        session.close()


def _written(source: CellNet | Path, folder: Path) -> Path:
    if not isinstance(source, Path):
        return export_both(source, folder)
    if source.suffix != ".onnx":
        return export_both(read_checkpoint(source), folder)
    folder.mkdir(parents=True, exist_ok=True)
    for file in (source, zoo.half(source)):
        if not file.is_file():
            raise StageError(f"{file}: there is no such file; a network is packed with both of its files")
        if file.resolve() != (folder / file.name).resolve():
            shutil.copyfile(file, folder / file.name)
    return folder / source.name


def _described(model: Path) -> dict[str, Any]:
    """Return what a network's own table says for its card."""
    if zoo.task_of(model) != zoo.CELLS:
        return {"kind": zoo.task_of(model), "speed": "quality"}
    spec = zoo.spec(model)
    return {"kind": spec.kind, "speed": "fast" if spec.fast else "quality", "object_px": spec.object_px}


def _parameters(model: Path) -> int:
    """Return how many weights the graph holds; shapes and scalars of the graph itself are none."""
    import onnx

    weights = onnx.TensorProto.FLOAT
    initializers = onnx.load(model).graph.initializer
    return sum(int(np.prod(one.dims)) for one in initializers if one.data_type == weights and one.dims)
