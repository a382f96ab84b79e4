"""A small network with the face of a cell network, written operator by operator: exporting one takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

WIDTH = 12
MAPS = 7
Frames = list[int | str]
SIDES: dict[str, Frames] = {
    "frames": ["n", 2, "16*rows", "16*columns"],
    "offset": ["n", 2],
    "scale": ["n", 2],
    "foreground": ["n", 1, "16*rows", "16*columns"],
    "maps": ["n", MAPS, "8*rows", "8*columns"],
}


class _Writer:
    """Collects nodes and constants; each call returns the name of what its node gives."""

    def __init__(self, dtype: type[np.floating[Any]]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(3)
        self._dtype = dtype

    def __call__(self, operation: str, *takes: str, gives: str = "", **attributes: Any) -> str:
        name = gives or f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, list(takes), [name], **attributes))
        return name

    def constant(self, value: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def whole(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def real(self, value: float) -> str:
        return self.constant(np.array(value, self._dtype))

    def conv(self, x: str, inputs: int, outputs: int, side: int = 3) -> str:
        spread = (2.0 / (inputs * side**2)) ** 0.5
        weight = self._rng.normal(0, spread, (outputs, inputs, side, side)).astype(self._dtype)
        bias = self._rng.normal(0, 0.1, outputs).astype(self._dtype)
        return self("Conv", x, self.constant(weight), self.constant(bias), pads=[side // 2] * 4)


def write(path: Path, *, half: bool = False) -> None:
    """Write the network; ``half``: float16 after a float32 normalisation, and the same weights rounded."""
    net = _Writer(np.float16 if half else np.float32)
    axes = net.whole(2, 3)
    above = net("Sub", "frames", net("Unsqueeze", "offset", axes))
    value = net("Div", above, net("Unsqueeze", "scale", axes))
    if half:
        value = net("Cast", value, to=TensorProto.FLOAT16)
    value = _unshuffled(net, value)
    bounded = net("Clip", value, net.real(-2), net.real(4))
    bent = net("Div", value, net("Add", net("Abs", value), net.real(0.2)))
    fine = net("Relu", net("Add", net.conv(bounded, 8, WIDTH), net.conv(bent, 8, WIDTH)))
    coarse = net("MaxPool", fine, kernel_shape=[2, 2], strides=[2, 2])
    coarse = net("Relu", net("Add", net.conv(net("Relu", net.conv(coarse, WIDTH, WIDTH)), WIDTH, WIDTH), coarse))
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    x = net("Add", fine, net("Resize", net.conv(coarse, WIDTH, WIDTH, 1), "", scales, **nearest))
    foreground = net("Sigmoid", net("DepthToSpace", net.conv(x, WIDTH, 4), blocksize=2, mode="CRD"))
    maps = net.conv(x, WIDTH, MAPS)
    seed = net("Sigmoid", net("Slice", maps, net.whole(0), net.whole(1), net.whole(1)))
    rest = net("Slice", maps, net.whole(1), net.whole(MAPS), net.whole(1))
    to = {"to": TensorProto.FLOAT}
    net("Cast", foreground, gives="foreground", **to)
    net("Cast", net("Concat", seed, rest, axis=1), gives="maps", **to)
    onnx.save(_model(net), path)


def _unshuffled(net: _Writer, x: str) -> str:
    """Bring each pixel of a 2 × 2 block into a plane of its own, in the form that torch's exporter writes."""
    shape = net("Shape", x)
    n, c = (net("Slice", shape, net.whole(i), net.whole(i + 1)) for i in (0, 1))
    rows, columns = (net("Div", net("Slice", shape, net.whole(i), net.whole(i + 1)), net.whole(2)) for i in (2, 3))
    split = net("Concat", n, c, rows, net.whole(2), columns, net.whole(2), axis=0)
    parts = net("Transpose", net("Reshape", x, split), perm=[0, 1, 3, 5, 2, 4])
    joined = net("Concat", n, net("Mul", c, net.whole(4)), rows, columns, axis=0)
    return net("Reshape", parts, joined)


def _model(net: _Writer) -> onnx.ModelProto:
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name, sides in SIDES.items()}
    inputs, outputs = list(values.values())[:3], list(values.values())[3:]
    graph = helper.make_graph(net.nodes, "small", inputs, outputs, net.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model
