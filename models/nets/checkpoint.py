"""A network between training and export: its table and its weights in one file that runs no code when it is read."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from models.nets.cellnet import CellNet
from models.spec import NetSpec
from stream.errors import StageError

SPEC, WEIGHTS = "spec", "weights"


def write(path: Path, spec: NetSpec, weights: Mapping[str, torch.Tensor], **more: Any) -> None:
    """Write a checkpoint; ``more`` is what training needs to go on: tensors, numbers, text and tables of them."""
    waiting = path.with_suffix(".part")
    torch.save({SPEC: spec.to_json(), WEIGHTS: dict(weights), **more}, waiting)
    waiting.replace(path)


def read(path: Path) -> CellNet:
    """Return the network of a checkpoint. Raises StageError for a file that is missing, torn or not ours."""
    try:
        said = torch.load(path, map_location="cpu", weights_only=True)
        net = CellNet(NetSpec.from_json(said[SPEC]))
        net.load_state_dict(said[WEIGHTS])
    except OSError as error:
        raise StageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise StageError(f"{path}: not a checkpoint of a cell network ({type(error).__name__}: {error})") from error
    return net.eval()
