"""A denoising network of one convolution, drawn by hand: what it does is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.denoise.spec import PLANES, DenoiseSpec
from models.spec import PROPERTY

FINE = (0.0, 1.0, 0.0, 0.0, 0.0)
"""Takes the fine structure away: a blur."""


def drawn_net(path: Path, weights: tuple[float, ...] = FINE, per_known: float = 0.0) -> Path:
    """Write a network whose excess is a weighted sum of the planes, and more for each frame that is known."""
    kernel = numpy_helper.from_array(np.array(weights, np.float32).reshape(1, PLANES, 1, 1), "kernel")
    share = numpy_helper.from_array(np.full((1, 2, 1, 1), per_known, np.float32), "share")
    shape = numpy_helper.from_array(np.array([-1, 2, 1, 1], np.int64), "shape")
    nodes = [
        helper.make_node("Conv", ["planes", "kernel"], ["summed"]),
        helper.make_node("Reshape", ["known", "shape"], ["flags"]),
        helper.make_node("Conv", ["flags", "share"], ["more"]),
        helper.make_node("Add", ["summed", "more"], ["excess"]),
    ]
    inputs = [
        helper.make_tensor_value_info("planes", TensorProto.FLOAT, ["n", PLANES, "y", "x"]),
        helper.make_tensor_value_info("known", TensorProto.FLOAT, ["n", 2]),
    ]
    outputs = [helper.make_tensor_value_info("excess", TensorProto.FLOAT, ["n", 1, "y", "x"])]
    graph = helper.make_graph(nodes, "drawn", inputs, outputs, [kernel, share, shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {PROPERTY: DenoiseSpec(name=path.stem).to_json()})
    onnx.save(model, path)
    return path
