"""Outputs are proven to be of the run that returned them."""

from __future__ import annotations

import numpy as np
import pytest

from models.runtime.bound import BoundSession, Port, aligned
from models.runtime.session import Floats
from stream.errors import StageError


class Engine:
    """Doubles a picture, until it is told to go wrong the way vendors' libraries do."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.inputs = (Port("picture", shape),)
        self.outputs = (Port("double", shape),)
        self.into = (aligned(shape),)
        self.fault = ""

    def run(self, inputs: tuple[Floats, ...]) -> None:
        if self.fault == "writes nothing":
            return
        if self.fault == "raises":
            raise OverflowError("a vendor's word")
        rows = slice(None, -self.into[0].shape[-2] // 2) if self.fault == "writes half" else slice(None)
        self.into[0][..., rows, :] = 2 * inputs[0][..., rows, :]
        if self.fault == "overflows":
            self.into[0].flat[-1] = np.inf


@pytest.mark.parametrize("fault", ["writes nothing", "writes half", "overflows"])
@pytest.mark.parametrize("shape", [(1, 1, 64, 48), (1, 2, 8, 8), (2, 2)], ids=str)
def test_an_output_that_this_run_did_not_make_is_an_error(fault: str, shape: tuple[int, ...]) -> None:
    engine = Engine(shape)
    session = BoundSession(engine, "trial", "fp32")
    picture = np.full(shape, 3.0, np.float32)
    assert (session.run(picture)[0] == 6).all()
    engine.fault = fault
    with pytest.raises(StageError, match="'double' is not finite, or was not written by this run"):
        session.run(picture)
    engine.fault = ""
    assert (session.run(picture)[0] == 6).all()


def test_what_a_library_raises_is_an_error_of_the_stage() -> None:
    engine = Engine((1, 1, 64, 48))
    session = BoundSession(engine, "trial", "fp32")
    engine.fault = "raises"
    with pytest.raises(StageError, match=r"trial \(fp32\) did not run: OverflowError: a vendor's word"):
        session.run(np.ones((1, 1, 64, 48), np.float32))


def test_arrays_begin_on_a_cache_line() -> None:
    assert {aligned(shape).ctypes.data % 64 for shape in [(1,), (3, 5), (1, 2, 17, 31)]} == {0}
