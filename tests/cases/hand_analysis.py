"""An analysis in one process, fed by hand: a chain that finds nothing and decides at once, unless a test says else."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from stream.analyse.analysis import Analysis
from stream.analyse.chain import STAGES, Chain, Work
from stream.analyse.pipeline import Pipeline
from stream.cells import Segmentation, make_cells
from stream.config import ChainSettings, Configuration
from stream.facts.analysis import FILE, AnalysisFacts
from stream.frame import Frame, FrameRef, Index, Stamps
from stream.lineage import Tracks
from stream.stages import Moment, Tracked
from stream.wire.messages import EndOfStream, Fact, Message
from stream.wire.read import decode

Stage = Callable[[Work], None]
END = EndOfStream("s", "finished")


def frame(number: int, *, seq: int | None = None, side_px: int = 8, t_pop_ns: int | None = None, **known: Any) -> Frame:
    """A dark image of field ``c:p0``; a frame every 100 ms."""
    stamps = Stamps(t_pop_ns=number * 10**8 if t_pop_ns is None else t_pop_ns)
    pixels = np.zeros((side_px, 8), np.uint16)
    known = {"field": "c:p0", "index": Index(t=number), **known}
    return Frame("r", "c", "s", 0, number if seq is None else seq, frame=number, pixels=pixels, stamps=stamps, **known)


class Blind:
    """A chain that sees no cells; ``stages`` are run instead of its own."""

    choice = "none"

    def __init__(self, **stages: Stage) -> None:
        self.seen: list[tuple[int, int]] = []
        """Frame and missed of every moment that was tracked."""
        self._stages: dict[str, Stage] = {**dict.fromkeys(STAGES, lambda work: None), "track": self._track, **stages}

    def stages(self) -> tuple[tuple[str, Stage], ...]:
        return tuple(self._stages.items())

    def finish(self) -> list[Any]:
        return []

    def as_chain(self) -> Chain:
        return cast(Chain, self)

    def _track(self, work: Work) -> None:
        self.seen.append((work.moment.frame.frame, work.moment.missed))
        work.tracked = nothing_in(work.moment)


def nothing_in(moment: Moment) -> Tracked:
    none = np.zeros(0)
    pairs = np.zeros((0, 2))
    cells = make_cells(none.astype(np.int32), pairs.astype(np.float32), np.zeros((0, 4), np.int32),
                       none.astype(np.float32), np.zeros((0, 1), np.float32))  # fmt: skip
    longs = [none.astype(np.int64) for _ in range(4)]
    tracks = Tracks(*longs, none.astype(np.int8), none.astype(np.int32), pairs, pairs.copy())
    return Tracked(moment, Segmentation(np.zeros(moment.frame.pixels.shape, np.int32), cells), tracks)


class Hand:
    """Runs an analysis over items that a subscriber would give, and keeps what it says."""

    def __init__(self, run_dir: Path, chain: ChainSettings, blind: Blind, items: Iterable[Any], **config: Any) -> None:
        self.facts, self._run_dir = AnalysisFacts(run_dir), run_dir
        self.sent: list[Message] = []
        self.alive: list[tuple[FrameRef | None, int]] = []
        """What the rig was told: the last decided frame, and how many are in flight."""
        self._items = iter(items)
        self.pipeline = Pipeline(chain, lambda field: blind.as_chain())
        parts = (
            SimpleNamespace(next=self._next), self.pipeline,
            SimpleNamespace(asks=False, on_frames=False, act_on=lambda events, frame: 0),
            SimpleNamespace(alive=lambda *said: self.alive.append(said), next_ack=lambda timeout_s: None),
            SimpleNamespace(send=self._send, finish=lambda timeout_s: True),
        )  # fmt: skip
        wires = [cast(Any, part) for part in parts]
        self._analysis = Analysis(Configuration(chain=chain, **config), *wires, self.facts, None)

    def run(self) -> None:
        """Run to the end of the items, which is the end of the stream, and close the facts."""
        try:
            self._analysis.run(threading.Event())
        finally:
            self.facts.close()

    def losses(self) -> list[tuple[str, str, int, int | None]]:
        """Return stage, reason, count and frame of the losses in the facts."""
        return self._ask("SELECT stage, reason, count, frame FROM losses ORDER BY rowid")

    def decided(self) -> list[tuple[int, int]]:
        """Return frame and missed of the decisions in the facts."""
        return self._ask("SELECT frame, missed FROM frames ORDER BY rowid")

    def told(self, fact: str) -> list[tuple[str, str, int]]:
        """Return stage, reason and count of what the page was told of a kind."""
        facts = [decode(message.parts()) for message in self.sent if message.kind == "fact"]
        said = [one.data for one in facts if isinstance(one, Fact) and one.data["fact"] == fact]
        return [(data["stage"], data["reason"], data["count"]) for data in said]

    def _ask(self, question: str) -> list[Any]:
        with closing(sqlite3.connect(self._run_dir / FILE)) as facts:
            return facts.execute(question).fetchall()

    def _next(self, timeout_s: float) -> Any:
        item = next(self._items, END)
        return item() if callable(item) else item

    def _send(self, message: Message) -> bool:
        self.sent.append(message)
        return True
