"""Fields share networks: what fails for one frame serves the next, and what is let go of closes with its last user."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from blob_net import blob_onnx, spots
from segment_scene import grid

from models import zoo
from models.normalise import Running
from models.runtime import RUNTIMES, choose
from models.runtime.registry import Runtime
from models.runtime.session import Floats, Session, Shapes
from models.segment import sessions
from models.segment.decode import DecodeSettings
from models.segment.network import NetworkSegmenter
from models.segment.sessions import KEPT, Wanted, ready
from models.segment.sight import Network, Retina, Sight
from stream.errors import StageError
from stream.frame import Frame
from stream.stages import Moment

SHAPE = (96, 112)
CENTRES = grid(SHAPE, 40)
PIXELS = spots(SHAPE, CENTRES, 26.0)


class Spoilt:
    """onnxruntime's session, of no use after a run that was told to fail."""

    runtime, precision = "trial", "fp32"
    fails = False

    def __init__(self, session: Session) -> None:
        self.reason, self.broken, self.closed = "", False, False
        self._session = session

    def run(self, *inputs: Floats) -> tuple[Floats, ...]:
        self.broken |= self.fails
        if self.broken:
            raise StageError("output 'maps' is not finite")
        return self._session.run(*inputs)

    def close(self) -> None:
        self.closed = True
        self._session.close()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Spoilt]]]:
    """Let every network be run by :class:`Spoilt`; what was opened for frames, checks aside."""
    made: list[weakref.ref[Spoilt]] = []
    reference = RUNTIMES["onnxruntime"]()

    def open_(model: Path, shapes: Shapes, precision: str, threads: int) -> Session:
        session = Spoilt(reference.open(model, shapes, "fp32", 1))
        made.append(weakref.ref(session))
        return session

    monkeypatch.setattr(choose, "RUNTIMES", {"trial": lambda: Runtime(lambda: "", open_)})
    monkeypatch.setattr(choose._Opening, "_verified", lambda *_: "trusted")
    sessions.forget()
    yield made
    sessions.forget()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zoo") / "blobs.onnx"
    blob_onnx(path)
    return path


def cells(segmenter: NetworkSegmenter, number: int) -> int:
    frame = Frame("run", "cam", "s", 0, number, "cam:p0", number, PIXELS)
    return len(segmenter.step(Moment(frame)).cells)


def live(opened: list[weakref.ref[Spoilt]]) -> list[Spoilt]:
    gc.collect()
    return [session for made in opened if (session := made()) is not None]


def test_one_bad_frame_does_not_end_the_night_of_any_field(model: Path, opened: list[weakref.ref[Spoilt]]) -> None:
    fields = [NetworkSegmenter({"model": str(model), "diameter_px": 26.0}) for _ in range(2)]
    assert [cells(field, 0) for field in fields] == [len(CENTRES)] * 2
    (first,) = live(opened)
    first.fails = True
    with pytest.raises(StageError, match="not finite"):
        cells(fields[0], 1)
    assert first.closed
    assert [cells(field, 2) for field in fields] == [len(CENTRES)] * 2
    assert len(opened) == 2, "opened anew once, for both"


def test_a_network_that_fails_at_every_frame_is_given_up(
    model: Path, opened: list[weakref.ref[Spoilt]], monkeypatch: pytest.MonkeyPatch
) -> None:
    field = NetworkSegmenter({"model": str(model), "diameter_px": 26.0})
    cells(field, 0)
    monkeypatch.setattr(Spoilt, "fails", True)
    for number in range(1, 5):
        with pytest.raises(StageError, match=r"^output 'maps' is not finite"):
            cells(field, number)
    for number in (5, 6):
        with pytest.raises(StageError, match="3 times in a row, the last time with: output 'maps'"):
            cells(field, number)
    assert len(opened) == 4


def test_a_network_that_is_let_go_of_lives_as_long_as_somebody_looks_through_it(
    model: Path, opened: list[weakref.ref[Spoilt]]
) -> None:
    network = Network(model, zoo.spec(model), "auto", "auto")
    held = Retina(network, Sight.of(SHAPE, 1.0))
    for k in range(1, KEPT + 2):
        ready(Wanted(model, "auto", "auto", (96, 112 + 16 * k)))
    assert len(opened) == KEPT + 2
    assert [one.closed for one in live(opened)] == [False] * (KEPT + 1), "of two let go of, one is still looked through"
    levels = Running.after(None, PIXELS, network.spec.normalisation)
    assert held.see(PIXELS, levels, PIXELS, levels, DecodeSettings(26.0)).count == len(CENTRES)
    del held
    assert len(live(opened)) == KEPT
