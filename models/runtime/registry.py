"""The runtimes that there are, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.runtime.session import Session, Shapes

REFERENCE = "onnxruntime"
"""What the others are compared with."""

Open = Callable[[Path, Shapes, str, int], Session]
"""Of a model, its shapes, a precision or ``auto``, and a number of threads."""


def _nothing() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Runtime:
    """One way to run a network; the packages that it needs are imported only when it opens one."""

    unavailable: Callable[[], str]
    """Why it cannot be used here, "" if it can."""
    open: Open
    not_automatic: Callable[[], str] = _nothing
    """Why nobody should get it without asking for it, "" if it is a good choice here."""


def _openvino() -> Runtime:
    from models.runtime import openvino

    return Runtime(openvino.unavailable, openvino.open_openvino)


def _onnxruntime() -> Runtime:
    from models.runtime import onnxruntime

    return Runtime(onnxruntime.unavailable, onnxruntime.open_onnxruntime)


def _torch() -> Runtime:
    from models.runtime import torch

    return Runtime(torch.unavailable, torch.open_torch, torch.not_automatic)


def _tensorrt(flavour: str) -> Runtime:
    from models.runtime import tensorrt
    from models.runtime.cuda_driver import gpus

    def open_(model: Path, shapes: Shapes, precision: str, _: int) -> Session:
        return tensorrt.open_tensorrt(model, shapes, precision=precision, flavour=flavour)

    # without a GPU there is no need to load 100 MB of libraries to be told so
    return Runtime(lambda: tensorrt.unavailable(flavour) if gpus() else "no NVIDIA GPU and driver", open_)


RUNTIMES: Mapping[str, Callable[[], Runtime]] = {
    "tensorrt": partial(_tensorrt, "tensorrt"),
    "tensorrt-rtx": partial(_tensorrt, "tensorrt-rtx"),
    "torch": _torch,
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
}
