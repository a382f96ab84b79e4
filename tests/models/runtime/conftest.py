"""Networks that some session can be opened for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.runtime import small_net


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small network; its half lies beside it, stored outputs do not."""
    path = tmp_path_factory.mktemp("networks") / "small.onnx"
    small_net.write(path)
    small_net.write(path.with_name("small.fp16.onnx"), half=True)
    return path
