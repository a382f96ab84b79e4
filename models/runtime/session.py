"""The face of a network that is ready to run, whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Shapes = Mapping[str, tuple[int, ...]]
"""The shape of every input, by name."""


class Session(Protocol):
    """One network at one set of shapes; belongs to one thread.

    Attributes
    ----------
    runtime
        ``openvino``, ``onnxruntime``, ``torch``, ``tensorrt`` or ``tensorrt-rtx``.
    precision
        ``bf16``, ``fp16`` or ``fp32``: of the convolutions; inputs and outputs are float32.
    reason
        Why this runtime, for people.
    """

    runtime: str
    precision: str
    reason: str

    def run(self, *inputs: Floats) -> tuple[Floats, ...]:
        """Return the outputs in the model's order: read-only views that are valid until the next run.

        Parameters
        ----------
        inputs
            In the model's order; C-contiguous float32, finite, with the shapes that the session was opened for.

        Raises
        ------
        StageError
            An input breaks one of these rules, the run failed, an output is not finite or was not written by this run,
            or the session was closed.
        """

    def close(self) -> None:
        """Let go of what the session holds. Safe to call twice."""
