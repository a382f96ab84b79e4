"""Inputs and reference outputs stored beside a network, so that any machine can tell whether it computes rightly."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import zoo
from models.normalise import levels
from models.spec import NORMALISATIONS
from models.zoo.scene import LOOKS, scene
from stream.cells import Kind
from stream.errors import StageError

Arrays = Mapping[str, NDArray[np.float32]]
SIDE_PX = 96
OBJECT_PX = 26.0
SEED = 7


def drawn_inputs(model: Path) -> dict[str, NDArray[np.float32]]:
    """Return drawn frames as a network of ours takes them: no recording is stored, so that all of it may be passed on.

    Raises StageError for a network with a task for which nothing is drawn.
    """
    task = zoo.task_of(model)
    if task == zoo.CELLS:
        return cell_inputs(zoo.spec(model).kind)
    if task == "denoise":
        return denoise_inputs()
    raise StageError(f"{model}: nothing is drawn for the task '{task}'; give inputs")


def cell_inputs(kind: Kind, side_px: int = SIDE_PX, object_px: float = OBJECT_PX) -> dict[str, NDArray[np.float32]]:
    """Return two drawn frames with their levels, as a cell network takes them."""
    frames = scene(kind, side_px, object_px=object_px, seed=SEED)
    pairs = np.array([levels(frame, NORMALISATIONS[kind]) for frame in frames], np.float32)
    return {"frames": frames[None], "offset": pairs[None, :, 0].copy(), "scale": pairs[None, :, 1].copy()}


def denoise_inputs() -> dict[str, NDArray[np.float32]]:
    """Return what a denoising network sees of the last of three drawn frames, stabilised (Anscombe 1948)."""
    from models.denoise.planes import planes
    from models.denoise.spec import FRAMES, PLANES

    frames = scene("nuclei", SIDE_PX, object_px=OBJECT_PX, seed=SEED, frames=FRAMES)
    earlier, before, newest = 2 * np.sqrt(frames / np.float32(LOOKS["nuclei"].gain) + np.float32(0.375))
    seen = np.empty((1, PLANES, SIDE_PX, SIDE_PX), np.float32)
    planes(newest, (before, earlier), seen[0])
    return {"planes": seen, "known": np.ones((1, FRAMES - 1), np.float32)}


def square(model: Path, side_px: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each input of any network of ours for one frame of ``side_px``."""
    from models.runtime.face import face

    def known(axis: int, said: int | str) -> int:
        return said if isinstance(said, int) else side_px if axis > 1 else 1

    return {one.name: tuple(known(axis, said) for axis, said in enumerate(one.sides)) for one in face(model).inputs}


def write(model: Path, inputs: Arrays, path: Path) -> None:
    """Store inputs and the outputs that onnxruntime gives for them in float32, as ``in_NAME`` and ``out_NAME``."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    wanted = [one.name for one in session.get_inputs()]
    if sorted(wanted) != sorted(inputs):
        raise StageError(f"{model}: takes {', '.join(wanted)}; inputs were given for {', '.join(inputs) or 'none'}")
    given = {name: np.ascontiguousarray(inputs[name], np.float32) for name in wanted}
    arrays: dict[str, Any] = {f"in_{name}": array for name, array in given.items()}
    made = session.run(None, given)
    arrays |= {f"out_{one.name}": array for one, array in zip(session.get_outputs(), made, strict=True)}
    np.savez_compressed(path, **arrays)


def read(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Return the stored inputs and outputs by name, each in the network's order. Raises StageError."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            inputs = {name[3:]: file[name] for name in file.files if name.startswith("in_")}
            outputs = {name[4:]: file[name] for name in file.files if name.startswith("out_")}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise StageError(f"{path}: no stored check ({error}); pack the model again") from error
    if not inputs or not outputs:
        raise StageError(f"{path}: no stored check: it holds no inputs and outputs; pack the model again")
    return inputs, outputs
