"""What is known of each field after its newest frame, kept on disk: an analysis that died goes on with its tracks."""

from __future__ import annotations

import logging
import threading
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import msgpack
import xxhash

from stream.analyse.afford import Affordable
from stream.clock import Clock, now_ns
from stream.config import ChainSettings
from stream.errors import StoreError
from stream.frame import FrameRef
from stream.stages import Moment

log = logging.getLogger(__name__)

SCHEMA = 3
SUFFIX = ".state"
DIGEST_BYTES = 16
_COLUMNS = ("host", "t_pop_ns", "elapsed_s", "step", "open", "family", "chain")
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Kept:
    """One field as it stood after a frame.

    Parameters
    ----------
    ref, host, t_pop_ns
        The frame, and when it was taken on which host's clock.
    elapsed_s
        Of the field's run, at that frame.
    step
        By how much the numbers of the field's time points grow, as far as was seen; 0: nothing was.
    open
        The ids of the events that await another word.
    family
        As :meth:`stream.analyse.context.Contexts.save` returned it.
    chain
        As :meth:`stream.analyse.chain.Chain.save` returned it.
    """

    ref: FrameRef
    host: str
    t_pop_ns: int
    elapsed_s: float
    step: int
    open: tuple[str, ...]
    family: Any
    chain: bytes

    def packed(self, made_by: str) -> bytes:
        """Return it as bytes that :meth:`unpacked` checks; ``made_by`` names the program and its settings."""
        known = {name: getattr(self, name) for name in _COLUMNS}
        body: bytes = msgpack.packb({"schema": SCHEMA, "made_by": made_by, "ref": asdict(self.ref), **known})
        return xxhash.xxh3_128_digest(body) + body

    @classmethod
    def unpacked(cls, data: bytes, made_by: str) -> Kept:
        """Take up what :meth:`packed` returned.

        Raises
        ------
        StoreError
            It is torn, or of another program or other settings: what they know does not fit.
        """
        digest, body = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
        if xxhash.xxh3_128_digest(body) != digest:
            raise StoreError(f"{len(data)} bytes of a state are torn")
        said = msgpack.unpackb(body, strict_map_key=False)
        if (said.pop("schema"), said.pop("made_by")) != (SCHEMA, made_by):
            raise StoreError("a state of another version of the program, or of another [chain]")
        return cls(**{**said, "ref": FrameRef(**said["ref"]), "open": tuple(said["open"])})


class Keeper:
    """Writes ``state/FIELD.state`` on a thread of its own, of every field the newest.

    Only a state of the last decided frame is worth anything, so a field is kept after every frame, or, where writing
    would take more than ``share`` of the time between its frames, hardly ever
    (:class:`~stream.analyse.afford.Affordable`).
    """

    def __init__(self, folder: Path, settings: ChainSettings, share: float, clock: Clock = now_ns) -> None:
        self._folder, self._clock = folder, clock
        self._affordable = Affordable(share)
        self._made_by = (
            f"{metadata.version('cytoloop')} {xxhash.xxh3_64_hexdigest(settings.model_dump_json().encode())}"
        )
        self._waiting: dict[str, Kept] = {}
        self._changed = threading.Condition()
        self._over = self._failing = False
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def found(self) -> list[Kept]:
        """Return what an earlier analysis kept in this run, as far as it can be used."""
        kept = []
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            try:
                kept.append(Kept.unpacked(path.read_bytes(), self._made_by))
            except (OSError, StoreError) as error:
                log.warning("%s: passed over, the field's tracks begin anew: %s", path, error)
        return kept

    def wants(self, moment: Moment) -> bool:
        """Say whether the field should be kept as it will stand after this moment; ask once for every moment."""
        return self._affordable.ask(moment.frame.field, self._clock())

    def keep(self, kept: Kept) -> None:
        """Have a field written down soon; what waits of the same field is older and is let go."""
        with self._changed:
            self._waiting[kept.ref.field] = kept
            self._changed.notify()

    def close(self, *, ended: bool) -> None:
        """Write what waits; where the stream ``ended``, nothing is left to go on with: remove everything."""
        with self._changed:
            self._over = True
            if ended:
                self._waiting = {}
            self._changed.notify()
        self._thread.join(_PATIENCE_S)
        if not ended or self._thread.is_alive():  # a disk that hangs would hang the end, too
            return
        try:
            for path in [*self._folder.glob(f"*{SUFFIX}"), *self._folder.glob("*.part")]:
                path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: cannot be emptied: %s", self._folder, error)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._over)
                if not self._waiting:
                    return
                kept = self._waiting.pop(next(iter(self._waiting)))
            self._write(kept)

    def _write(self, kept: Kept) -> None:
        begin = self._clock()
        path = self._folder / f"{kept.ref.field.replace(':', '_')}{SUFFIX}"
        part = path.with_suffix(".part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(kept.packed(self._made_by))
            part.replace(path)
        except OSError as error:
            if not self._failing:
                log.error("%s: cannot be written; an analysis that dies now begins new tracks: %s", path, error)
            self._failing = True
        else:
            self._failing = False
        self._affordable.spent(kept.ref.field, (self._clock() - begin) / 1e9)
