"""Tables of equal-length columns as one packed payload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream.cells import Cells
from stream.errors import Malformed, StageError
from stream.lineage import Tracks
from stream.wire.header import Header, item_tree, item_whole, listed, text

Table = TypeVar("Table", Cells, Tracks)
_ALIGN_BYTES = 8
_COLUMNS: dict[type[Any], dict[str, tuple[str, int]]] = {
    Cells: {
        "label": ("<i4", 1), "centroid_px": ("<f4", 2), "bbox_px": ("<i4", 2), "area_px": ("<f4", 1),
        "mean_counts": ("<f4", 2), "score": ("<f4", 1), "state_prob": ("<f4", 2), "prev_centre_px": ("<f4", 2),
        "features": ("<f4", 2),
    },
    Tracks: {
        "track_id": ("<i8", 1), "parent_id": ("<i8", 1), "born": ("<i8", 1), "last": ("<i8", 1), "state": ("|i1", 1),
        "label": ("<i4", 1), "position_um": ("<f8", 2), "velocity_um_s": ("<f8", 2),
    },
}  # fmt: skip
"""The dtype and dimensions of every column, as sent."""


def pack_table(table: Cells | Tracks) -> tuple[list[Header], bytes]:
    """Return the description of the columns, in order, and their bytes, each column beginning at a multiple of 8."""
    described: list[Header] = []
    chunks: list[bytes] = []
    known = _COLUMNS[type(table)]
    for column in fields(table):
        values: NDArray[Any] = np.ascontiguousarray(getattr(table, column.name), dtype=known[column.name][0])
        described.append({"name": column.name, "dtype": values.dtype.str, "shape": list(values.shape)})
        chunks += [values.tobytes(), bytes(-values.nbytes % _ALIGN_BYTES)]
    return described, b"".join(chunks)


def unpack_table(kind: type[Table], header: Header, payload: memoryview) -> Table:
    """Return the table, its columns read-only views of the payload. Raises Malformed."""
    columns: dict[str, NDArray[Any]] = {}
    at = 0
    for described in listed(header, "columns", item_tree):
        name = text(described, "name")
        shape = listed(described, "shape", item_whole)
        values, at = _column(name, text(described, "dtype"), shape, payload, at)
        if _COLUMNS[kind].get(name) == (values.dtype.str, values.ndim):
            columns[name] = values
    missing = [name for name in _COLUMNS[kind] if name not in columns]
    if missing or at != len(payload):
        raise Malformed(f"a {kind.__name__} table lacks {missing} or has {len(payload) - at} bytes too many")
    try:
        return kind(**columns)
    except StageError as error:
        raise Malformed(str(error)) from error


def _column(name: str, dtype: str, shape: Sequence[int], payload: memoryview, at: int) -> tuple[NDArray[Any], int]:
    if dtype not in ("<i4", "<i8", "|i1", "<f4", "<f8") or len(shape) not in (1, 2) or min(shape) < 0:
        raise Malformed(f"column {name} is {dtype} {tuple(shape)}, which no table has")
    count = int(np.prod(shape, dtype=object))
    size = count * np.dtype(dtype).itemsize
    if at + size > len(payload):
        raise Malformed(f"column {name} of {size} bytes does not fit a payload of {len(payload)} bytes")
    values: NDArray[Any] = np.zeros(shape, dtype)
    if count:
        values = np.require(np.frombuffer(payload, dtype, count, offset=at).reshape(shape), requirements="A")
    return values, at + size + (-size % _ALIGN_BYTES)
