"""An ONNX file becomes a row of torch calls: the file stays the only truth about a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor

from models.runtime.onnx_ops import HOST_INPUTS, OPERATIONS
from models.runtime.session import Shapes
from stream.errors import RuntimeUnavailable

_FEW = 64
"""Constants of up to so many numbers are also kept on the host, where arithmetic on shapes is done."""


class Weights:
    """A graph with its constants on one device; several networks share it."""

    def __init__(self, model: Path, device: torch.device) -> None:
        self.graph = onnx.load(model).graph
        self.device = device
        self.host: dict[str, Tensor] = {}
        self.there: dict[str, Tensor] = {}
        for constant in self.graph.initializer:
            value = torch.from_numpy(numpy_helper.to_array(constant).copy())
            if value.numel() <= _FEW and value.ndim <= 1:
                self.host[constant.name] = value
            self.there[constant.name] = value.to(
                device, memory_format=torch.channels_last if value.ndim == 4 else torch.contiguous_format
            )


@dataclass(frozen=True, slots=True)
class _Step:
    call: Callable[..., Any]
    takes: tuple[str | Tensor | None, ...]
    """Names of values, and constants."""
    gives: tuple[str, ...]
    done: tuple[str, ...] = ()
    """Values that no later step takes."""


class Network:
    """A graph at one set of shapes.

    What depends on shapes alone is worked out once, on tensors without data, when the network is made. So a run is
    nothing but calls on tensors, and can be captured.

    Raises
    ------
    RuntimeUnavailable
        The graph has an operator, or a form of one, that is not known here.
    """

    def __init__(self, weights: Weights, shapes: Shapes) -> None:
        graph = weights.graph
        self.inputs = tuple(value.name for value in graph.input)
        self.outputs = tuple(value.name for value in graph.output)
        self._there = weights.there
        self._host = dict(weights.host)
        self._device = weights.device
        self._meta = {name: torch.ones(shapes[name], device="meta") for name in self.inputs}
        self._steps: list[_Step] = []
        for node in graph.node:
            self._add(node)
        self.shapes = {name: tuple(self._meta[name].shape) for name in self.outputs}
        self._free()

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for inputs of the shapes that the network was made for."""
        values = dict(zip(self.inputs, inputs, strict=True))
        for step in self._steps:
            found = step.call(*(values[one] if isinstance(one, str) else one for one in step.takes))
            values.update(zip(step.gives, _tuple(found), strict=True))
            for name in step.done:
                del values[name]
        return tuple(values[name] for name in self.outputs)

    def _add(self, node: Any) -> None:
        """Work a node out now, if it depends on shapes alone, or make it a step."""
        attributes = {one.name: _plain(helper.get_attribute_value(one)) for one in node.attribute}
        if node.op_type == "Constant":
            self._host[node.output[0]] = torch.as_tensor(next(iter(attributes.values())))
        elif node.op_type == "Shape":
            shape = tuple(self._meta[node.input[0]].shape)[attributes.get("start", 0) : attributes.get("end")]
            self._host[node.output[0]] = torch.tensor(shape, dtype=torch.int64)
        elif node.op_type not in OPERATIONS:
            raise RuntimeUnavailable(
                f"torch: the network uses {node.op_type}, which is not known here; run it on openvino or onnxruntime"
            )
        else:
            call = partial(OPERATIONS[node.op_type], attributes)
            if all(name in self._host for name in node.input if name):
                found = call(*(self._host[name] if name else None for name in node.input))
                self._host.update(zip(node.output, _tuple(found), strict=True))
            else:
                self._make_step(node, call)

    def _make_step(self, node: Any, call: Callable[..., Any]) -> None:
        on_host = HOST_INPUTS.get(node.op_type, frozenset())
        takes = tuple(self._argument(name, at in on_host) if name else None for at, name in enumerate(node.input))
        shown = (self._meta[one] if isinstance(one, str) else one for one in takes)
        found = call(*(one if one is None or at in on_host else one.to("meta") for at, one in enumerate(shown)))
        self._meta.update(zip(node.output, _tuple(found), strict=True))
        self._steps.append(_Step(call, takes, tuple(node.output)))

    def _argument(self, name: str, on_host: bool) -> str | Tensor:
        if name in self._meta:
            if on_host:
                raise RuntimeUnavailable(f"torch: '{name}' says how to compute and is known only in a run")
            return name
        if on_host:
            return self._host[name]
        return self._there[name] if name in self._there else self._host[name].to(self._device)

    def _free(self) -> None:
        """Mark where each value is needed last."""
        needed = set(self.outputs)
        for index in reversed(range(len(self._steps))):
            step = self._steps[index]
            used = {one for one in step.takes if isinstance(one, str)}
            unused = set(step.gives) - needed
            self._steps[index] = replace(step, done=tuple((used | unused) - needed))
            needed |= used


def _tuple(found: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return torch.from_numpy(numpy_helper.to_array(value).copy())
    return value
