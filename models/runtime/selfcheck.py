"""Proves, before the first frame, that a runtime computes what the network is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.runtime.session import Floats, Session, Shapes
from models.spec import MULTIPLE
from stream.errors import RuntimeUnavailable, StageError

SIDE_PX = 128
"""Of the picture that is compared: some cells of the usual size fit in."""
PEDESTAL = 32768.0
"""Counts that some cameras add to every pixel, and that lower precisions cannot hold beside a cell's contrast."""
Open = Callable[[Shapes], Session]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a runtime may be from the fp32 reference, in deviations of each output plane."""

    rms: float
    most: float


TOLERANCES: Mapping[str, Tolerance] = {
    # fp32: another order of summation, 24 bits; a network of 25 layers loses some of them
    "fp32": Tolerance(rms=1e-4, most=2e-3),
    # fp16: 11 bits in every layer, 2^-11 = 5e-4 a rounding
    "fp16": Tolerance(rms=1e-2, most=0.2),
    # bf16: 8 bits in every layer, 2^-8 = 4e-3 a rounding
    "bf16": Tolerance(rms=5e-2, most=1.0),
}
FLOOR = 0.05
"""Least deviation that a plane is measured in: a plane without any cell in the picture is nearly constant."""


def check_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the picture that is compared: sides of at most :data:`SIDE_PX`."""
    return {
        name: (*shape[:-2], *(min(side, SIDE_PX) for side in shape[-2:])) if len(shape) == 4 else tuple(shape)
        for name, shape in shapes.items()
    }


def verify(model: Path, opened: Open, shapes: Shapes, reference: Open | None) -> str:
    """Compare a runtime with what is stored beside the model, or else with the reference runtime.

    Returns
    -------
    str
        What was compared, for people.

    Raises
    ------
    RuntimeUnavailable
        An output is further off than :data:`TOLERANCES` allow.
    """
    stored = model.with_suffix(".check.npz")
    if stored.is_file():
        inputs, wanted = _read(stored)
        said = "agrees with the stored outputs"
    else:
        inputs = _picture(check_shapes(shapes))
        if reference is None:
            return _pedestal(opened, inputs, "compared with nothing (no stored outputs, no onnxruntime)")
        with_reference = reference({name: array.shape for name, array in inputs.items()})
        wanted = [array.copy() for array in with_reference.run(*inputs.values())]
        with_reference.close()
        said = "agrees with onnxruntime"
    session = opened({name: array.shape for name, array in inputs.items()})
    compare(session.run(*inputs.values()), wanted, session)
    session.close()
    return _pedestal(opened, inputs, said)


def compare(found: tuple[Floats, ...], wanted: list[Floats], session: Session) -> None:
    """Raise RuntimeUnavailable if an output plane is further off than its precision explains."""
    allowed = TOLERANCES[session.precision]
    if [a.shape for a in found] != [a.shape for a in wanted]:
        raise RuntimeUnavailable(f"{session.runtime}: shapes {[a.shape for a in found]} are not the reference's")
    for number, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        across = tuple(axis for axis in range(theirs.ndim) if axis != 1)
        unit = np.maximum(theirs.std(axis=across, keepdims=True), FLOOR)
        off = np.abs(ours - theirs) / unit
        rms, most = float(np.sqrt(np.max(np.mean(off**2, axis=across)))), float(off.max())
        if rms > allowed.rms or most > allowed.most:
            raise RuntimeUnavailable(
                f"{session.runtime} ({session.precision}) computes wrongly: output {number} is off by {rms:.2g} rms, "
                f"{most:.2g} at most, in deviations of a plane; allowed are {allowed.rms:g} and {allowed.most:g}. "
                "Choose another precision or runtime, and run: cytoloop models check"
            )


def _pedestal(opened: Open, inputs: Mapping[str, Floats], said: str) -> str:
    """Compare the network with itself on a camera's pedestal, which must change nothing."""
    if list(inputs) != ["frames", "offset", "scale"]:
        return said
    frames = np.round(inputs["frames"])
    session = opened({name: array.shape for name, array in inputs.items()})
    plain = [array.copy() for array in session.run(frames, np.round(inputs["offset"]), inputs["scale"])]
    raised = session.run(
        frames + np.float32(PEDESTAL), np.round(inputs["offset"]) + np.float32(PEDESTAL), inputs["scale"]
    )
    compare(raised, plain, session)
    session.close()
    return f"{said}; a pedestal changes nothing"


def _read(stored: Path) -> tuple[dict[str, Floats], list[Floats]]:
    try:
        with np.load(stored, allow_pickle=False) as file:
            inputs = {name[3:]: file[name].astype(np.float32) for name in file.files if name.startswith("in_")}
            return inputs, [file[name].astype(np.float32) for name in file.files if name.startswith("out_")]
    except (OSError, ValueError) as error:
        raise StageError(f"{stored} is unreadable ({error}); pack the model again") from error


def _picture(shapes: Shapes) -> dict[str, Floats]:
    """Return seeded inputs: blobs on a dim background for frames, ones for scalars of unknown meaning."""
    said: dict[str, Floats] = {}
    rng = np.random.default_rng(1)
    for name, shape in shapes.items():
        if len(shape) == 4:
            said[name] = _blobs(rng, shape)
        else:
            said[name] = np.full(shape, {"offset": 120.0, "scale": 1200.0}.get(name, 1.0), np.float32)
    return said


def _blobs(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    rows, columns = np.mgrid[: shape[-2], : shape[-1]]
    picture = np.zeros(shape[-2:])
    for _ in range(max(1, picture.size // MULTIPLE**2 // 4)):
        y, x = rng.uniform(0, shape[-2]), rng.uniform(0, shape[-1])
        picture += np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 7.0**2))
    noisy = 120 + 1200 * np.clip(picture, 0, 1.3) + rng.normal(0, 15, shape)
    return np.round(np.clip(noisy, 0, None)).astype(np.float32)
