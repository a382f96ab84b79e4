"""Each operator gives in torch what it gives in ONNX Runtime; forms that are not known are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.runtime.session import Floats

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from models.runtime.onnx_graph import Network, Weights  # noqa: E402
from models.runtime.onnx_ops import OPERATIONS  # noqa: E402
from stream.errors import RuntimeUnavailable  # noqa: E402

SHAPE = (2, 8, 6, 10)
RNG = np.random.default_rng(5)
NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def real(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(0, 1, shape).astype(np.float32)


def whole(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def factors(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


Case = tuple[str, list[Any], dict[str, Any]]
CASES: dict[str, Case] = {
    "Abs": ("Abs", [], {}),
    "Add of a plane each": ("Add", [real(8, 1, 1)], {}),
    "BatchNormalization": ("BatchNormalization", [real(8), real(8), real(8), real(8) ** 2], {"epsilon": 1e-3}),
    "Cast there": ("Cast", [], {"to": TensorProto.FLOAT}),
    "Clip": ("Clip", [np.float32(-0.5), np.float32(1)], {}),
    "Clip from below": ("Clip", [np.float32(0.1)], {}),
    "Concat": ("Concat", [real(2, 3, 6, 10)], {"axis": 1}),
    "Conv": ("Conv", [real(4, 8, 3, 3), real(4)], {"pads": [1, 1, 1, 1]}),
    "Conv, uneven pads": ("Conv", [real(4, 8, 3, 2)], {"pads": [1, 0, 0, 1], "strides": [2, 1]}),
    "Conv, two groups, dilated": ("Conv", [real(4, 4, 3, 3)], {"group": 2, "dilations": [2, 2]}),
    "DepthToSpace, rows first": ("DepthToSpace", [], {"blocksize": 2, "mode": "DCR"}),
    "DepthToSpace, planes first": ("DepthToSpace", [], {"blocksize": 2, "mode": "CRD"}),
    "Div": ("Div", [np.float32(3)], {}),
    "Expand": ("Expand", [whole(3, 1, 1, 1, 1)], {}),
    "Gather one": ("Gather", [np.int64(2)], {"axis": 1}),
    "Gather some": ("Gather", [whole(2, 0)], {"axis": 1}),
    "Identity": ("Identity", [], {}),
    "MaxPool": ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "MaxPool, each pixel": ("MaxPool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "Mul": ("Mul", [real(2, 8, 6, 10)], {}),
    "Relu": ("Relu", [], {}),
    "Reshape": ("Reshape", [whole(0, 4, -1)], {}),
    "Resize by factors": ("Resize", [None, factors(1, 1, 2, 3)], NEAREST),
    "Resize to sizes": ("Resize", [None, None, whole(2, 8, 12, 20)], NEAREST),
    "Sigmoid": ("Sigmoid", [], {}),
    "Slice": ("Slice", [whole(1, -4), whole(2**62, -1), whole(1, 3)], {}),
    "Slice, every second": ("Slice", [whole(0), whole(6), whole(2), whole(2)], {}),
    "SpaceToDepth": ("SpaceToDepth", [], {"blocksize": 2}),
    "Split": ("Split", [whole(3, 5)], {"axis": 1}),
    "Split evenly": ("Split", [], {"axis": 1, "num_outputs": 2}),
    "Sqrt": ("Sqrt", [], {}),
    "Squeeze": ("Squeeze", [whole(0)], {}),
    "Sub": ("Sub", [real(10)], {}),
    "Transpose": ("Transpose", [], {"perm": [0, 2, 3, 1]}),
    "Unsqueeze": ("Unsqueeze", [whole(1, -1)], {}),
}
UNKNOWN: dict[str, Case] = {
    "an operator": ("Erf", [], {}),
    "Resize, linear": ("Resize", [None, factors(1, 1, 2, 2)], NEAREST | {"mode": "linear"}),
    "Resize by half a factor": ("Resize", [None, factors(1, 1, 1.5, 1.5)], NEAREST),
    "Slice backwards": ("Slice", [whole(5), whole(0), whole(2), whole(-1)], {}),
    "MaxPool, rounded up": ("MaxPool", [], {"kernel_shape": [4, 4], "strides": [4, 4], "ceil_mode": 1}),
    "Conv, pads by name": ("Conv", [real(4, 8, 3, 3)], {"auto_pad": "SAME_UPPER"}),
    "Cast to text": ("Cast", [], {"to": TensorProto.STRING}),
}


def one_node(path: Path, case: Case, given: Floats) -> Path:
    operation, constants, attributes = case
    names = ["" if value is None else f"c{at}" for at, value in enumerate(constants)]
    stored = [numpy_helper.from_array(np.asarray(v), n) for v, n in zip(constants, names, strict=True) if n]
    gives = ["y", "z"] if operation == "Split" else ["y"]
    node = helper.make_node(operation, ["x", *names], gives, **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, given.shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in gives],
        stored,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def in_torch(model: Path, given: Floats) -> tuple[Floats, ...]:
    network = Network(Weights(model, torch.device("cpu")), {"x": given.shape})
    with torch.inference_mode():
        return tuple(found.numpy() for found in network(torch.from_numpy(given)))


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_onnxruntime_gives(tmp_path: Path, name: str) -> None:
    given = real(*SHAPE)
    given = given[:1] if name == "Squeeze" else np.abs(given) if name == "Sqrt" else given
    model = one_node(tmp_path / "one.onnx", CASES[name], given)
    wanted = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]).run(None, {"x": given})
    found = in_torch(model, given)
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_every_known_operator_is_compared() -> None:
    assert {case[0] for case in CASES.values()} == set(OPERATIONS)


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_form_that_is_not_known_is_refused(tmp_path: Path, name: str) -> None:
    given = real(*SHAPE)
    with pytest.raises(RuntimeUnavailable, match=f"torch: .*{UNKNOWN[name][0]}.* known here"):
        in_torch(one_node(tmp_path / "one.onnx", UNKNOWN[name], given), given)


def test_half_and_float_of_one_network_agree(network: Path) -> None:
    given = [torch.full((1, 2, 32, 48), 500.0), torch.full((1, 2), 100.0), torch.full((1, 2), 400.0)]
    given[0][..., 8:16, 8:20] = 900.0
    shapes = {"frames": (1, 2, 32, 48), "offset": (1, 2), "scale": (1, 2)}
    files = (network, network.with_name("small.fp16.onnx"))
    with torch.inference_mode():
        whole_, half = (Network(Weights(file, torch.device("cpu")), shapes)(*given) for file in files)
    for one, other in zip(whole_, half, strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert 0 < float((one - other).abs().max()) < 0.02 * float(one.abs().max())
