"""Runs a network from its ONNX file on what this machine has."""

from models.runtime.choose import available, open_session
from models.runtime.registry import RUNTIMES
from models.runtime.session import Session

__all__ = ["RUNTIMES", "Session", "available", "open_session"]
