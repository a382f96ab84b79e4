"""What an ONNX file says about itself, without any ONNX package: a walk over the outermost fields of its protobuf."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from stream.errors import StageError

_METADATA_PROPS = 14
"""Field of ``ModelProto`` that holds the ``StringStringEntryProto`` entries (onnx.proto)."""
_KEY, _VALUE = 1, 2
_GRAPH = 7
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_TEXT = 1 << 20
"""No entry of ours is longer."""


def properties(path: Path) -> dict[str, str]:
    """Return the ``metadata_props`` of an ONNX file.

    Only the entries themselves are read; the weights are skipped.

    Raises
    ------
    StageError
        The file cannot be read, is torn, or is no ONNX file.
    """
    try:
        with path.open("rb") as file:
            return _properties(file, path.stat().st_size)
    except OSError as error:
        raise StageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise StageError(f"{path}: no whole ONNX file ({error}); fetch or export it again") from error


def _properties(file: BinaryIO, size: int) -> dict[str, str]:
    found: dict[str, str] = {}
    graph = False
    for field, length in _fields(file, size):
        end = file.tell() + length
        if field == _METADATA_PROPS and length <= _MOST_TEXT:
            entry: dict[int, str] = {}
            for part, part_length in _fields(file, end):
                entry[part] = file.read(part_length).decode()
            found[entry.get(_KEY, "")] = entry.get(_VALUE, "")
        graph |= field == _GRAPH
        file.seek(end)
    if not graph:
        raise ValueError("there is no graph in it")
    return found


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Yield number and length of each field with a length up to ``end``, the file standing at its first byte.

    The caller leaves the file at the field's last byte; fields without a length are passed over.
    """
    while file.tell() < end:
        tag = _varint(file)
        field, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _varint(file)
        elif kind in (_FIXED64, _FIXED32):
            file.seek(8 if kind == _FIXED64 else 4, 1)
        elif kind == _BYTES:
            length = _varint(file)
            if file.tell() + length > end:
                raise ValueError(f"field {field} ends {file.tell() + length - end} bytes after the file")
            yield field, length
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
    if file.tell() != end:
        raise ValueError("its last field is torn")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends within a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number of more than 64 bits")
