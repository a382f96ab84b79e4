"""In which precision each layer computes: an engine that silently runs in float is slow, one in half may be wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stream.errors import StageError

TYPES = {"fp16": "HALF", "fp32": "FLOAT"}
HEAVY = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "NORMALIZATION", "POOLING", "RESIZE", "ACTIVATION")
"""Layers whose precision decides speed and result."""
LIGHT = ("ELEMENTWISE", "UNARY", "REDUCE", "SELECT", "SOFTMAX", "SCALE")
"""Layers that a compiler fuses with their neighbours; in another precision they are named, not refused."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What the layers of a network said.

    Parameters
    ----------
    precision
        That was wanted.
    convolutions
        How many there are, all in that precision.
    first
        Light layers in float before the first one in half: the normalisation of the frames.
    stray
        Light layers in float after it.
    """

    precision: str
    convolutions: int
    first: tuple[str, ...]
    stray: tuple[str, ...]


def audit(network: Any, precision: str) -> Audit:
    """Check the layers of a parsed network. Raises StageError that names the layers of another precision."""
    wanted = TYPES[precision]
    first: list[str] = []
    stray: list[str] = []
    wrong: list[str] = []
    heavy = 0
    lowered = False
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        kind = layer.type.name
        outputs = [layer.get_output_type(k).name for k in range(layer.num_outputs)]
        lowered = lowered or "HALF" in outputs
        if kind in HEAVY:
            taken = layer.get_input(0).dtype.name
            heavy += kind == "CONVOLUTION"
            if taken != wanted or outputs != [wanted]:
                wrong.append(f"{layer.name} ({taken} → {', '.join(outputs)})")
        elif kind in LIGHT and precision == "fp16" and "FLOAT" in outputs:
            (stray if lowered else first).append(layer.name)
    if wrong or not heavy:
        what = f"layers not in {precision}: {_few(wrong)}" if wrong else "no convolution in the network"
        raise StageError(f"dtype audit: {what}")
    return Audit(precision, heavy, tuple(first), tuple(stray))


def audit_engine(engine: Any, trt: Any, precision: str) -> int:
    """Check the layers that a built engine will run, and return how many convolutions it names.

    Needs a GPU, as an engine does, and an engine built with detailed profiling; a compiler may fuse several
    convolutions into one layer. Raises StageError that names convolutions whose outputs are of another precision.
    """
    inspector = engine.create_engine_inspector()
    told = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    fused = [one for one in told.get("Layers", []) if isinstance(one, dict)]
    convolutions = [one for one in fused if "conv" in str(one.get("LayerType", "")).lower()]
    other = {"fp16": ("Float", "FP32"), "fp32": ("Half", "FP16")}[precision]
    wrong = [str(c.get("Name")) for c in convolutions if any(word in _formats(c) for word in other)]
    if wrong:
        raise StageError(f"dtype audit: the engine's convolutions not in {precision}: {_few(wrong)}")
    return len(convolutions)


def _formats(fused: dict[str, Any]) -> str:
    """Return the formats and types of a layer's outputs, as the inspector writes them in any version."""
    return " ".join(f"{out.get('Format/Datatype', '')} {out.get('DataType', '')}" for out in fused.get("Outputs", []))


def _few(names: Sequence[str], most: int = 4) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
