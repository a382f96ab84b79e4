"""What an ONNX file says about itself, without any ONNX package."""

from __future__ import annotations

from pathlib import Path

from models.runtime.protobuf import fields
from stream.errors import StageError

# Fields of onnx.proto
_GRAPH, _METADATA_PROPS = 7, 14  # ModelProto
_KEY, _VALUE = 1, 2  # StringStringEntryProto


def properties(path: Path) -> dict[str, str]:
    """Return the ``metadata_props`` of an ONNX file.

    Raises
    ------
    StageError
        The file cannot be read, is torn, or is no ONNX file.
    """
    try:
        return _properties(memoryview(path.read_bytes()))
    except OSError as error:
        raise StageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise StageError(f"{path}: no whole ONNX file ({error}); fetch or export it again") from error


def _properties(file: memoryview) -> dict[str, str]:
    found: dict[str, str] = {}
    graph = False
    for field, value in fields(file):
        if field == _METADATA_PROPS and isinstance(value, memoryview):
            entry = {part: bytes(text).decode() for part, text in fields(value) if isinstance(text, memoryview)}
            found[entry.get(_KEY, "")] = entry.get(_VALUE, "")
        graph |= field == _GRAPH
    if not graph:
        raise ValueError("there is no graph in it")
    return found
