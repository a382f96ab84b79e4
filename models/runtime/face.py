"""What a network takes and gives, read from its ONNX file without any ONNX package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from models.runtime.protobuf import fields, messages
from models.runtime.session import Shapes
from stream.errors import StageError

# Fields of onnx.proto
_INPUTS, _OUTPUTS = (7, 11), (7, 12)  # ModelProto.graph, GraphProto.input and .output
_NAME, _DIMS = 1, (2, 1, 2, 1)  # ValueInfoProto.name and .type, TypeProto.tensor_type, Tensor.shape, its dims
_DIM_VALUE, _DIM_PARAM = 1, 2


@dataclass(frozen=True, slots=True)
class Declared:
    """An input or output as the file declares it; a side is a number, or a word such as ``16*rows``."""

    name: str
    sides: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(map(str, self.sides))})"

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Say whether an array of this shape can be meant."""
        return len(shape) == len(self.sides) and all(map(_fits, self.sides, shape))


@dataclass(frozen=True, slots=True)
class Face:
    """Inputs and outputs of a network, in order."""

    inputs: tuple[Declared, ...]
    outputs: tuple[Declared, ...]

    def ordered(self, shapes: Shapes) -> dict[str, tuple[int, ...]]:
        """Return the shapes in the order of the inputs. Raises StageError for shapes that it cannot take."""
        takes = ", ".join(map(str, self.inputs))
        if set(shapes) != {one.name for one in self.inputs}:
            raise StageError(f"the network takes {takes}; shapes were given for {', '.join(shapes) or 'none'}")
        for one in self.inputs:
            if not one.takes(tuple(shapes[one.name])):
                raise StageError(f"the network takes {takes}; '{one.name}' cannot be {tuple(shapes[one.name])}")
        return {one.name: tuple(shapes[one.name]) for one in self.inputs}


def face(model: Path) -> Face:
    """Return what a network takes and gives. Raises StageError for a file that is no whole ONNX file."""
    told = model.stat()
    return _face(model, told.st_mtime_ns, told.st_size)


@lru_cache(maxsize=64)
def _face(model: Path, mtime_ns: int, size: int) -> Face:
    try:
        file = memoryview(model.read_bytes())
        found = Face(*(tuple(map(_declared, messages(file, *path))) for path in (_INPUTS, _OUTPUTS)))
    except (ValueError, KeyError) as error:
        raise StageError(f"{model}: no whole ONNX file ({error}); fetch or export it again") from error
    if not found.inputs or not found.outputs:
        raise StageError(f"{model}: no ONNX file: no graph with inputs and outputs is in it")
    return found


def _declared(value: memoryview) -> Declared:
    return Declared(_text(dict(fields(value))[_NAME]), tuple(_side(dim) for dim in messages(value, *_DIMS)))


def _side(dim: memoryview) -> int | str:
    said = dict(fields(dim))
    number = said.get(_DIM_VALUE)
    return number if isinstance(number, int) else _text(said.get(_DIM_PARAM, memoryview(b"any")))


def _text(value: int | memoryview) -> str:
    if isinstance(value, int):
        raise ValueError("a number where a name should be")
    return bytes(value).decode()


def _fits(side: int | str, given: int) -> bool:
    if isinstance(side, int):
        return given == side
    multiple = re.match(r"(\d+)\*", side)
    return given > 0 and (multiple is None or given % int(multiple[1]) == 0)
