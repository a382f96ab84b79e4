"""What each ONNX operator that our networks use does, in torch.

Only the forms that exporters write for these networks are here; any other form is refused by name, never guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from stream.errors import RuntimeUnavailable

Attributes = Mapping[str, Any]
Operation = Callable[..., Tensor | tuple[Tensor, ...]]
"""Called with the attributes and the inputs; an input that the node leaves out is None."""
HOST_INPUTS: Mapping[str, frozenset[int]] = {
    "Clip": frozenset({1, 2}),
    "Expand": frozenset({1}),
    "Gather": frozenset({1}),
    "Reshape": frozenset({1}),
    "Resize": frozenset({1, 2, 3}),
    "Slice": frozenset({1, 2, 3, 4}),
    "Split": frozenset({1}),
    "Squeeze": frozenset({1}),
    "Unsqueeze": frozenset({1}),
}
"""Inputs that say how and not what: numbers known before the first run, kept on the host."""
_DTYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 10: torch.float16}


def _conv(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    _only(attributes, "Conv", auto_pad="NOTSET")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        x, top, left = functional.pad(x, (left, right, top, bottom)), 0, 0
    return functional.conv2d(
        x, weight, bias, tuple(attributes.get("strides", (1, 1))), (top, left),
        tuple(attributes.get("dilations", (1, 1))), attributes.get("group", 1),
    )  # fmt: skip


def _max_pool(attributes: Attributes, x: Tensor) -> Tensor:
    _only(attributes, "MaxPool", auto_pad="NOTSET", ceil_mode=0, storage_order=0)
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        raise RuntimeUnavailable(f"torch: MaxPool with pads {attributes['pads']} is not known here")
    kernel, strides = tuple(attributes["kernel_shape"]), tuple(attributes.get("strides", (1, 1)))
    return functional.max_pool2d(x, kernel, strides, (top, left), tuple(attributes.get("dilations", (1, 1))))


def _resize(
    attributes: Attributes, x: Tensor, _roi: Tensor | None = None, scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:  # fmt: skip
    _only(attributes, "Resize", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    if sizes is not None and sizes.numel():
        factors = [size / side for size, side in zip(sizes.tolist(), x.shape, strict=True)]
    else:
        factors = [] if scales is None else scales.tolist()
    if len(factors) != 4 or factors[:2] != [1.0, 1.0] or any(factor % 1 for factor in factors):
        raise RuntimeUnavailable(f"torch: Resize by {factors} is not known here; whole factors of rows and columns are")
    return functional.interpolate(x, scale_factor=(factors[2], factors[3]), mode="nearest")


def _depth_to_space(attributes: Attributes, x: Tensor) -> Tensor:
    block = attributes["blocksize"]
    if attributes.get("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x, block)
    n, c, rows, columns = x.shape
    parts = x.reshape(n, block, block, c // block**2, rows, columns).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // block**2, rows * block, columns * block)


def _space_to_depth(attributes: Attributes, x: Tensor) -> Tensor:
    block = attributes["blocksize"]
    n, c, rows, columns = x.shape
    parts = x.reshape(n, c, rows // block, block, columns // block, block).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, c * block**2, rows // block, columns // block)


def _slice(
    _: Attributes, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    along = range(starts.numel()) if axes is None else axes.tolist()
    by = [1] * starts.numel() if steps is None else steps.tolist()
    cut = [slice(None)] * x.ndim
    for axis, start, end, step in zip(along, starts.tolist(), ends.tolist(), by, strict=True):
        if step < 1:
            raise RuntimeUnavailable(f"torch: Slice with step {step} is not known here")
        cut[axis] = slice(start, end, step)
    return x[tuple(cut)]


def _split(attributes: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = attributes.get("axis", 0)
    if sizes is not None:
        return torch.split(x, sizes.tolist(), axis)
    return torch.split(x, math.ceil(x.shape[axis] / attributes["num_outputs"]), axis)


def _reshape(attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    kept = not attributes.get("allowzero", 0)
    return x.reshape([x.shape[i] if side == 0 and kept else side for i, side in enumerate(shape.tolist())])


def _unsqueeze(_: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + axes.numel()
    for axis in sorted(axis % rank for axis in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def _squeeze(_: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes.tolist()))


def _clip(_: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x.clamp(None if low is None else low.item(), None if high is None else high.item())


def _div(_: Attributes, x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _cast(attributes: Attributes, x: Tensor) -> Tensor:
    if attributes["to"] not in _DTYPES:
        raise RuntimeUnavailable(f"torch: Cast to ONNX type {attributes['to']} is not known here")
    return x.to(_DTYPES[attributes["to"]])


def _batch_norm(
    attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    _only(attributes, "BatchNormalization", training_mode=0)
    return functional.batch_norm(x, mean, variance, scale, bias, eps=attributes.get("epsilon", 1e-5))


def _expand(_: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    return torch.broadcast_to(x, torch.Size(np.broadcast_shapes(tuple(x.shape), shape.tolist())))


def _gather(attributes: Attributes, x: Tensor, index: Tensor) -> Tensor:
    if index.ndim == 0:
        return x.select(attributes.get("axis", 0), int(index))
    return x.index_select(attributes.get("axis", 0), index.to(x.device))


OPERATIONS: Mapping[str, Operation] = {
    "Abs": lambda _, x: x.abs(),
    "Add": lambda _, x, y: x + y,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda attributes, *parts: torch.cat(parts, attributes["axis"]),
    "Conv": _conv,
    "DepthToSpace": _depth_to_space,
    "Div": _div,
    "Expand": _expand,
    "Gather": _gather,
    "Identity": lambda _, x: x,
    "MaxPool": _max_pool,
    "Mul": lambda _, x, y: x * y,
    "Relu": lambda _, x: x.relu(),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": lambda _, x: x.sigmoid(),
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Sqrt": lambda _, x: x.sqrt(),
    "Squeeze": _squeeze,
    "Sub": lambda _, x, y: x - y,
    "Transpose": lambda attributes, x: x.permute(attributes["perm"]),
    "Unsqueeze": _unsqueeze,
}


def _only(attributes: Attributes, operation: str, **known: object) -> None:
    """Refuse an attribute whose value means something that is not done here."""
    for name, value in known.items():
        if attributes.get(name, value) != value:
            raise RuntimeUnavailable(f"torch: {operation} with {name} = {attributes[name]} is not known here")
