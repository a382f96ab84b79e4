"""How fast frames travel between two processes, beside memcpy and a bare PUSH/PULL measured in the same run.

Rates are taken at the receiver, from its first frame to its last; the sender encodes (and checksums) every frame while
it sends. Rounds of the bare socket and of the wire alternate, so that a busy machine slows both. One-way times run from
``t_publish_ns`` to ``t_receive_ns`` of frames sent at a steady 50 a second.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import dumps
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from stream.frame import Frame
from stream.wire.codec import encode_frame
from stream.wire.messages import EndOfStream
from stream.wire.policy import lossless
from stream.wire.publish import Publisher
from stream.wire.subscribe import Subscriber

ROUNDS = 5
CREDITS = 8
PACED_FRAMES, PACED_FPS = 150, 50.0
SIZES = {512: 1500, 2048: 150}
"""Side of the image in pixels, and frames of one round."""
DISTINCT = 8


def main(json: bool = False) -> dict[str, Any]:
    """Measure, print and return ``{side: {fps, bare_fps, memcpy_fps, vs_bare, vs_memcpy, one_way_ms}}``."""
    found = {str(side): measure(side, count) for side, count in SIZES.items()}
    if json:
        print(dumps({"wire": found}))
    else:
        for side, row in found.items():
            print(f"{side}²: {row}")
    return found


def measure(side: int, count: int) -> dict[str, Any]:
    """Measure one image size."""
    random = np.random.default_rng(0)
    images = [random.poisson(100, (side, side)).astype(np.uint16) for _ in range(DISTINCT)]
    rates: dict[str, list[float]] = {"wire": [], "bare": [], "memcpy": []}
    for _ in range(ROUNDS):
        rates["memcpy"].append(memcpy_fps(images, count))
        rates["bare"].append(bare_fps(images, count))
        rates["wire"].append(wire_fps(images, count))
    fps, bare, memcpy = (statistics.median(rates[name]) for name in ("wire", "bare", "memcpy"))
    pairs = zip(rates["wire"], rates["bare"], strict=True)
    return {
        "fps": round(fps, 1),
        "bare_fps": round(bare, 1),
        "memcpy_fps": round(memcpy, 1),
        "vs_bare": round(statistics.median(ours / theirs for ours, theirs in pairs), 3),
        "vs_memcpy": round(fps / memcpy, 3),
        "one_way_ms": one_way_ms(images),
    }


def memcpy_fps(images: list[NDArray[np.uint16]], count: int) -> float:
    """Copy as many images as one round sends, each to a place of its own."""
    places = [np.empty_like(image) for image in images]
    begin = time.perf_counter()
    for i in range(count):
        np.copyto(places[i % DISTINCT], images[i % DISTINCT])
    return count / (time.perf_counter() - begin)


def bare_fps(images: list[NDArray[np.uint16]], count: int) -> float:
    """Push the images through a plain PUSH/PULL with ``copy=False`` and no header, checks or accounts."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.set_hwm(CREDITS)
    port = push.bind_to_random_port("tcp://127.0.0.1")
    with child(_pull, f"tcp://127.0.0.1:{port}", count) as answer:
        for i in range(count):
            push.send(images[i % DISTINCT].data, copy=False)
        rate = float(answer.recv())
    context.destroy(linger=0)
    return rate


def wire_fps(images: list[NDArray[np.uint16]], count: int) -> float:
    """Send the images as frames, with everything that the wire does."""
    with (
        Publisher("tcp://127.0.0.1:0", run="bench", session="s", node="bench", max_queue=count) as publisher,
        child(_subscribe, publisher.address, count) as answer,
    ):
        publisher.wait_for(["bench"], 30)
        for i in range(count):
            publisher.send(encode_frame(frame(images, i)))
        if not publisher.finish(60):
            raise RuntimeError("the consumer did not take every frame within 60 s")
        rate, _ = answer.recv()
    return float(rate)


def one_way_ms(images: list[NDArray[np.uint16]]) -> dict[str, float]:
    """Send at a steady rate and return the one-way p50 and p99."""
    with (
        Publisher("tcp://127.0.0.1:0", run="bench", session="s", node="bench") as publisher,
        child(_subscribe, publisher.address, PACED_FRAMES) as answer,
    ):
        publisher.wait_for(["bench"], 30)
        begin = time.perf_counter()
        for i in range(PACED_FRAMES):
            time.sleep(max(0.0, begin + i / PACED_FPS - time.perf_counter()))
            publisher.send(encode_frame(frame(images, i)))
        publisher.finish(60)
        _, took_ms = answer.recv()
    p50, p99 = np.percentile(took_ms, [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


def frame(images: list[NDArray[np.uint16]], i: int) -> Frame:
    """Return the i-th frame, with as much metadata as a camera's."""
    said = {"ElapsedTime-ms": f"{i * 10}.00", "ImageNumber": str(i), "PixelType": "GRAY16", "Camera": "bench"}
    return Frame("bench", "camera", "s", 0, i, "camera:p0", i, images[i % DISTINCT], exposure_ms=10, metadata=said)


@contextmanager
def child(work: Callable[[str, int, Connection], None], address: str, count: int) -> Iterator[Connection]:
    """Run the receiving end in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=work, args=(address, count, theirs), daemon=True)
    process.start()
    theirs.close()  # so that a dead child ends our recv
    try:
        yield ours
    finally:
        process.join(10)
        ours.close()


def _pull(address: str, count: int, answer: Connection) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    pull = context.socket(zmq.PULL)
    pull.set_hwm(CREDITS)
    pull.connect(address)
    pull.recv(copy=False)
    begin = time.perf_counter()
    for _ in range(count - 1):
        pull.recv(copy=False)
    answer.send((count - 1) / (time.perf_counter() - begin))
    context.destroy(linger=0)


def _subscribe(address: str, count: int, answer: Connection) -> None:
    begin = end = 0.0
    took_ms: list[float] = []
    with Subscriber(address, ["frame"], name="bench", policy=lossless(count), credits=CREDITS) as subscriber:
        while not isinstance(item := subscriber.next(30), EndOfStream):
            if isinstance(item, Frame):
                end = time.perf_counter()
                begin = begin or end
                took_ms.append((item.stamps.t_receive_ns - item.stamps.t_publish_ns) / 1e6)
    answer.send(((len(took_ms) - 1) / (end - begin), took_ms))


if __name__ == "__main__":
    main()
