"""Walks over the fields of a protobuf message, so that an ONNX file can be asked without the onnx package."""

from __future__ import annotations

from collections.abc import Iterator

Value = int | memoryview
"""A number, or what lies in a field with a length: text or another message."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield number and value of each field. Raises ValueError for a message that is torn."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        field, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            number, at = _varint(message, at)
            yield field, number
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise ValueError(f"field {field} is of the unknown kind {kind}")
        if at + length > len(message):
            raise ValueError(f"field {field} ends {at + length - len(message)} bytes after its message")
        yield field, message[at : at + length]
        at += length


def messages(message: memoryview, *path: int) -> Iterator[memoryview]:
    """Yield every message that lies at the end of a path of fields."""
    for field, value in fields(message):
        if field == path[0] and isinstance(value, memoryview):
            if len(path) == 1:
                yield value
            else:
                yield from messages(value, *path[1:])


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it ends within a number")
