"""What is read from an ONNX file without an ONNX package."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from models.runtime.face import Declared, face
from models.runtime.protobuf import fields, messages
from stream.errors import StageError


def test_inputs_and_outputs_are_those_that_onnx_reads(network: Path) -> None:
    graph = onnx.load(network).graph

    def declared(value: onnx.ValueInfoProto) -> Declared:
        sides = value.type.tensor_type.shape.dim
        return Declared(value.name, tuple(side.dim_param or side.dim_value for side in sides))

    found = face(network)
    assert found.inputs == tuple(map(declared, graph.input))
    assert found.outputs == tuple(map(declared, graph.output))


def test_shapes_come_back_in_the_order_of_the_inputs(network: Path) -> None:
    shapes = {"scale": (3, 2), "frames": (3, 2, 32, 48), "offset": (3, 2)}
    assert list(face(network).ordered(shapes)) == ["frames", "offset", "scale"]


@pytest.mark.parametrize(
    ("sides", "shape", "fits"),
    [
        (("n", 2, "16*rows"), (5, 2, 48), True),
        (("n", 2, "16*rows"), (5, 2, 40), False),
        (("n", 2, "16*rows"), (5, 3, 48), False),
        (("n", 2, "16*rows"), (0, 2, 48), False),
        (("n", 2), (1, 2, 1), False),
        ((), (), True),
    ],
    ids=["whole blocks", "a half block", "a frame more", "nothing", "an axis more", "a scalar"],
)
def test_a_shape_fits_what_is_declared(sides: tuple[int | str, ...], shape: tuple[int, ...], fits: bool) -> None:
    assert Declared("frames", sides).takes(shape) is fits


@pytest.mark.parametrize("kept", [0, 1, 40, 4000], ids=lambda v: f"{v} bytes")
def test_a_file_that_ends_early_is_refused(network: Path, tmp_path: Path, kept: int) -> None:
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(network.read_bytes()[:kept])
    with pytest.raises(StageError, match=r"torn.onnx: no (whole )?ONNX file"):
        face(torn)


def test_every_kind_of_field_is_walked_over() -> None:
    message = memoryview(b"\x08\x96\x01\x11\x01\x02\x03\x04\x05\x06\x07\x08\x1a\x02hi\x25\x01\x02\x03\x04")
    assert [(field, value if isinstance(value, int) else bytes(value)) for field, value in fields(message)] == [
        (1, 150), (2, bytes(range(1, 9))), (3, b"hi"), (4, b"\x01\x02\x03\x04")
    ]  # fmt: skip
    nested = memoryview(b"\x0a\x04\x12\x02hi")
    assert [bytes(found) for found in messages(nested, 1, 2)] == [b"hi"]


@pytest.mark.parametrize("torn", [b"\x1a\x05hi", b"\x08", b"\x08" + b"\xff" * 11, b"\x0b"], ids=repr)
def test_a_torn_message_is_refused(torn: bytes) -> None:
    with pytest.raises(ValueError, match=r"ends|unknown kind"):
        list(fields(memoryview(torn)))
