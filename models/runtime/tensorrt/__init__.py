"""TensorRT 11 and TensorRT-RTX behind one code.

Nothing of either is imported before it is asked for; see ``docs/decisions/tensorrt.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.runtime.tensorrt.session import TensorRTSession


def open_tensorrt(
    model: Path, shapes: Mapping[str, tuple[int, ...]], *, precision: str, flavour: str
) -> TensorRTSession:
    """Open a network; see :func:`models.runtime.tensorrt.opening.open_session`."""
    from models.runtime.tensorrt import opening

    return opening.open_session(model, shapes, precision=precision, flavour=flavour)


def unavailable(flavour: str) -> str:
    """Return why a flavour cannot run here, or ``""``; see :func:`models.runtime.tensorrt.opening.unavailable`."""
    from models.runtime.tensorrt import opening

    return opening.unavailable(flavour)


def compile_check(model: Path, capability: str, *, precision: str, dynamic: bool) -> str:
    """Return ``"ok"`` or the reason; see :func:`models.runtime.tensorrt.check.compile_check`."""
    from models.runtime.tensorrt import check

    return check.compile_check(model, capability, precision=precision, dynamic=dynamic)


def check_model(model: Path) -> Mapping[str, str]:
    """Return ``"ok"`` or the reason by compute capability; see :func:`models.runtime.tensorrt.check.check_model`."""
    from models.runtime.tensorrt import check

    return check.check_model(model)
