"""The msgpack header of every message: packed plainly, read with suspicion."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgpack
import numpy as np

from stream.errors import Malformed, UnknownSchema

SCHEMA = "1.1"
"""``major.minor``: a reader refuses another major and ignores keys that a later minor added."""

Header = dict[str, Any]
_MAJOR = SCHEMA.split(".", maxsplit=1)[0]
_DEEPEST = 16
_ABSENT = object()
_INT, _FLOAT, _STR = {int}, {float}, {str}
T = TypeVar("T")


def pack(header: Mapping[str, Any]) -> bytes:
    """Pack a header; what msgpack does not know goes through :func:`plain`."""
    packed: bytes = msgpack.packb(header, default=plain)
    return packed


def unpack(data: bytes | memoryview) -> Header:
    """Return the header of a message of our major schema. Raises Malformed, UnknownSchema."""
    try:
        header = msgpack.unpackb(data)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise Malformed(f"the header of {len(data)} bytes is no msgpack: {error}; is the sender cytoloop?") from error
    if type(header) is not dict or set(map(type, header)) != _STR:
        raise Malformed(f"the header is a {type(header).__name__}, not a map of names; is the sender cytoloop?")
    schema = text(header, "schema")
    if schema.split(".", maxsplit=1)[0] != _MAJOR:
        raise UnknownSchema(f"schema {schema!r} is not {_MAJOR}.x; run the same cytoloop version on both sides")
    return header


def plain(value: Any, depth: int = 0) -> Any:
    """Return ``value`` as what msgpack and JSON can say: tuples become lists, keys text, strangers their text."""
    if value is None or isinstance(value, (bool, str, bytes)):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value) if -(1 << 63) <= value < 1 << 64 else str(value)
    if isinstance(value, (float, np.floating)):
        return float(value)
    return str(value) if depth >= _DEEPEST else _plain_tree(value, depth + 1)


def _plain_tree(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), depth)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {column.name: plain(getattr(value, column.name), depth) for column in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    return plain(dump(mode="json"), depth) if callable(dump) else str(value)


def text(header: Header, key: str) -> str:
    """Return a text. Raises Malformed, as every reader below does, naming the key and the value."""
    value = header.get(key, _ABSENT)
    return value if type(value) is str else _refuse(key, value, "text")


def whole(header: Header, key: str, least: int | None = None) -> int:
    """Return a whole number, at least ``least``."""
    value = header.get(key, _ABSENT)
    if type(value) is int and (least is None or value >= least):
        return value
    return int(_refuse(key, value, "a whole number" if least is None else f"a whole number from {least}"))


def finite(header: Header, key: str) -> float:
    """Return a number that is neither NaN nor infinite."""
    return _finite(key, header.get(key, _ABSENT))


def listed(header: Header, key: str, read: Callable[[str, Any], T], count: int | None = None) -> tuple[T, ...]:
    """Return a list of ``count`` items (None: any number), each read by one of the ``item_`` readers."""
    values = header.get(key, _ABSENT)
    if not isinstance(values, list) or (count is not None and len(values) != count):
        _refuse(key, values, "a list" if count is None else f"a list of {count}")
    return tuple([read(key, value) for value in values])


def wholes(header: Header, key: str, count: int) -> tuple[int, ...]:
    """Return ``count`` whole numbers; faster than reading one by one."""
    values = header.get(key)
    if type(values) is list and len(values) == count and set(map(type, values)) == _INT:
        return tuple(values)
    return listed(header, key, item_whole, count)


def finites(header: Header, key: str, count: int) -> tuple[float, ...]:
    """Return ``count`` finite numbers; faster than reading one by one."""
    values: Any = header.get(key)
    floats = type(values) is list and len(values) == count and set(map(type, values)) == _FLOAT
    if floats and math.isfinite(sum(values)):
        return tuple(values)
    return listed(header, key, _finite, count)


def tree(header: Header, key: str) -> Header:
    """Return a map from text to anything."""
    value = header.get(key, _ABSENT)
    if type(value) is not dict or not set(map(type, value)) <= _STR:
        _refuse(key, value, "a map of names")
    return dict(value)


def item_text(key: str, value: Any) -> str:
    """Return an item that is a text."""
    return value if isinstance(value, str) else _refuse(key, value, "text")


def item_whole(key: str, value: Any) -> int:
    """Return an item that is a whole number."""
    return whole({key: value}, key)


def _finite(key: str, value: Any) -> float:
    if type(value) in (int, float) and math.isfinite(value):
        return float(value)
    return float(_refuse(key, value, "a finite number"))


item_finite = _finite


def item_point(key: str, value: Any) -> tuple[float, float]:
    """Return an item that is a pair of finite numbers."""
    a, b = listed({key: value}, key, _finite, 2)
    return a, b


def item_tree(key: str, value: Any) -> Header:
    """Return an item that is a map."""
    return tree({key: value}, key)


def _refuse(key: str, value: Any, wanted: str) -> Any:
    shown = "missing" if value is _ABSENT else repr(value)[:80]
    raise Malformed(f"header {key} is {shown}, not {wanted}")
