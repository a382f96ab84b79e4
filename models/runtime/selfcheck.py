"""Proves, before the first frame, that a runtime computes what the network is."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.runtime.face import Face
from models.runtime.registry import REFERENCE
from models.runtime.session import Floats, Session, Shapes
from stream.errors import RuntimeUnavailable, StageError

SIDE_PX = 128
"""Of the picture that is compared where none is stored: some cells of the usual size fit in."""
WORST_OFFSET = 32_896.0
"""Counts under a frame, as some cameras add, halfway between two bf16 numbers: rounding would move it by 128."""
LEVELS = ("frames", "offset", "scale")
"""Inputs of a network that normalises its frames itself; see :mod:`models.spec`."""
CONTRAST = 400.0
"""Counts of a drawn cell."""
LEAST_DEVIATION = 0.05
"""What a plane's error is measured in, at least: without a cell in the picture, a plane is nearly constant."""

Open = Callable[[Shapes], Session]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an output may be from the reference, in standard deviations of its plane there."""

    rms: float
    most: float


TOLERANCES: Mapping[str, Tolerance] = {
    # 24 bits, so only the order of summation differs: 1e-6 and 5e-6 seen
    "fp32": Tolerance(rms=1e-4, most=1e-3),
    # 11 bits, a rounding of 5e-4 in each of some 25 layers: 0.0023 and 0.01 seen
    "fp16": Tolerance(rms=1e-2, most=0.1),
    # 8 bits, a rounding of 4e-3 in each layer: 0.020 and 0.11 seen, which is 0.03 px (most 0.23) of an offset
    "bf16": Tolerance(rms=5e-2, most=0.5),
}
"""By precision, with the rounding that explains it and what a trained network showed on frames of real cells."""


@dataclass(frozen=True, slots=True)
class Example:
    """A picture, and what the network makes of it in fp32."""

    inputs: tuple[Floats, ...]
    wanted: Sequence[Floats]
    """Empty: nobody can say."""
    source: str


def stored_outputs(model: Path) -> Path:
    """Return where inputs and reference outputs of a model lie, whether they are there or not."""
    return model.with_name(f"{model.stem}.check.npz")


def example(model: Path, known: Face, shapes: Shapes, reference: Open | None) -> Example:
    """Return what is stored beside the model, or else what the reference runtime makes of drawn cells.

    Raises StageError when what is stored cannot be read or does not belong to the model.
    """
    stored = stored_outputs(model)
    if stored.is_file():
        return _stored(stored, known)
    inputs = drawn(_small(known.ordered(shapes)))
    if reference is None:
        return Example(tuple(inputs.values()), (), "")
    with closing(reference({name: array.shape for name, array in inputs.items()})) as session:
        wanted = [array.copy() for array in session.run(*inputs.values())]
    return Example(tuple(inputs.values()), wanted, REFERENCE)


def verify(opened: Open, known: Face, shown: Example) -> str:
    """Return what a runtime's outputs agreed with, for people.

    Raises
    ------
    RuntimeUnavailable
        An output is further off than :data:`TOLERANCES` allow, or a pedestal under the frames changes it.
    """
    names = [one.name for one in known.inputs]
    session = opened({name: array.shape for name, array in zip(names, shown.inputs, strict=True)})
    try:
        if shown.wanted:
            compare(session.run(*shown.inputs), shown.wanted, session)
            said = [f"agrees with {shown.source}"]
        else:
            said = [
                "is the reference" if session.runtime == REFERENCE else f"compared with nothing: no {REFERENCE} here"
            ]
        if tuple(names) == LEVELS:
            _compare_on_pedestal(session, *shown.inputs)
            said.append("a pedestal changes nothing")
        return ", ".join(said)
    finally:
        session.close()


def compare(found: Sequence[Floats], wanted: Sequence[Floats], session: Session) -> None:
    """Raise RuntimeUnavailable if an output is further off than its precision explains."""
    shapes, allowed = [array.shape for array in found], TOLERANCES[session.precision]
    if shapes != [array.shape for array in wanted]:
        raise RuntimeUnavailable(f"{session.runtime}: its outputs have the shapes {shapes}, not those of the reference")
    for number, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        rms, most = distance(ours, theirs)
        if rms > allowed.rms or most > allowed.most:
            raise RuntimeUnavailable(
                f"{session.runtime} ({session.precision}) computes wrongly: output {number} is off by {rms:.2g} rms, "
                f"{most:.2g} at most, in deviations of a plane; {allowed.rms:g} and {allowed.most:g} are allowed. "
                "Choose another precision or runtime"
            )


def distance(found: Floats, wanted: Floats) -> tuple[float, float]:
    """Return the root mean square, of the worst plane, and the largest error, in deviations of a plane of ``wanted``.

    Planes are the second axis; a plane's deviation is at least :data:`LEAST_DEVIATION`.
    """
    across = tuple(axis for axis in range(wanted.ndim) if axis != 1)
    unit = np.maximum(wanted.std(axis=across, keepdims=True), LEAST_DEVIATION)
    off = np.abs(found - wanted) / unit
    return float(np.sqrt(np.max(np.mean(off**2, axis=across)))), float(off.max())


def _compare_on_pedestal(session: Session, frames: Floats, offset: Floats, scale: Floats) -> None:
    """Compare the network with itself: whole counts, and the same counts on a pedestal, hold the same cells."""
    frames, offset = np.round(frames), np.round(offset)
    wanted = [array.copy() for array in session.run(frames, offset, scale)]
    pedestal = WORST_OFFSET - offset
    compare(session.run(frames + pedestal[..., None, None], offset + pedestal, scale), wanted, session)


def _stored(file: Path, known: Face) -> Example:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            inputs = tuple(arrays[f"in_{one.name}"].astype(np.float32) for one in known.inputs)
            wanted = [arrays[f"out_{one.name}"].astype(np.float32) for one in known.outputs]
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise StageError(f"{file} cannot be read ({error}): fetch it, or pack the network, again") from error
    except (ValueError, KeyError) as error:
        raise StageError(
            f"{file} does not belong to its network, or is torn ({error}); pack the network again"
        ) from error
    return Example(inputs, wanted, "the stored outputs")


def _small(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Return the shapes with pictures of at most :data:`SIDE_PX` on a side."""
    return {
        name: shape[:-2] + tuple(min(side, SIDE_PX) for side in shape[-2:]) if len(shape) == 4 else shape
        for name, shape in shapes.items()
    }


def drawn(shapes: Shapes) -> dict[str, Floats]:
    """Return seeded inputs of some shapes: cells on a background for pictures, plausible levels for the rest."""
    rng = np.random.default_rng(1)
    normalised = "scale" not in shapes
    return {
        name: _cells(rng, shape, normalised)
        if len(shape) == 4
        else np.full(shape, {"offset": 120.0, "scale": CONTRAST}.get(name, 1.0), np.float32)
        for name, shape in shapes.items()
    }


def _cells(rng: np.random.Generator, shape: tuple[int, ...], normalised: bool) -> Floats:
    rows, columns = np.mgrid[: shape[-2], : shape[-1]]
    picture = np.zeros(shape[-2:])
    for _ in range(1 + picture.size // 1000):
        y, x = rng.uniform((0, 0), shape[-2:])
        picture += np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 7.0**2))
    noisy = np.clip(picture, 0, 1.3) + rng.normal(0, 0.015, shape)
    return (noisy if normalised else np.clip(np.round(120 + CONTRAST * noisy), 0, None)).astype(np.float32)
