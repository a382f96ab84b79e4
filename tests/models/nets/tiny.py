"""A tiny cell network with seeded weights, as ONNX: for tests that need some network and not a good one."""

from __future__ import annotations

import functools
import tempfile
import warnings
from pathlib import Path
from typing import Any

from models.spec import NetSpec

WIDTHS = (8, 16)


def tiny_onnx(path: Path, *, half: bool = False, **spec: Any) -> NetSpec:
    """Write a network to ``path`` and return its table; ``spec`` overrides fields of the table.

    Exporting takes seconds, so what one process has exported once is only copied.
    """
    table = NetSpec(
        **{"name": path.name.partition(".")[0], "kind": "nuclei", "object_px": 26.0, "widths": WIDTHS, **spec}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_exported(table, half))
    return table


@functools.cache
def _exported(table: NetSpec, half: bool) -> bytes:
    import torch

    from models.nets.cellnet import CellNet
    from models.nets.export import export

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = CellNet(table)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own ways
        export(net, Path(folder) / "net.onnx", half=half)
        return (Path(folder) / "net.onnx").read_bytes()
