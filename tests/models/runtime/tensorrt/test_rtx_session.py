"""The runner against a stand-in for TensorRT and CUDA: order, refusals, slots, what is left behind.

No GPU is needed, and none is proven: ``benchmarks/gpu_suite.py`` does that where there is one.
"""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from models.runtime.tensorrt.bindings import Bindings
from models.runtime.tensorrt.cuda import Cuda
from models.runtime.tensorrt.session import TensorRTSession
from models.runtime.tensorrt.shapes import Range, static
from stream.errors import StageError
from tests.models.runtime.tensorrt.stand_in_cuda import StandInCuda
from tests.models.runtime.tensorrt.stand_in_trt import ENGINE, KERNELS, Array, StandInTrt, network

SMALL = {"frames": (1, 2, 16, 32), "offset": (1, 2)}
LARGE = {"frames": (1, 2, 32, 48), "offset": (1, 2)}
WIDE = {name: Range(SMALL[name], LARGE[name], LARGE[name]) for name in SMALL}
SEEDS = range(8)


@pytest.fixture(autouse=True, scope="module")
def _quick_collections() -> Iterator[None]:
    """What other tests left lies still, so that looking for what *these* leave behind is quick."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def opened(
    cuda: StandInCuda, trt: StandInTrt | None = None, face: Cuda | None = None, **options: Any
) -> TensorRTSession:
    bindings = Bindings(options.pop("flavour", "tensorrt-rtx"), trt or StandInTrt(cuda))
    given = {"precision": "fp16", "reason": "", **options}
    return TensorRTSession(bindings, face or Cuda(cuda), ENGINE, given.pop("shapes", SMALL), **given)


def frames(count: int, shapes: dict[str, tuple[int, ...]] = SMALL) -> Iterator[tuple[Array, Array]]:
    rng = np.random.default_rng(3)
    for _ in range(count):
        yield (
            rng.integers(0, 4000, shapes["frames"]).astype(np.float32),
            rng.integers(0, 100, shapes["offset"]).astype(np.float32),
        )


def same(found: tuple[Array, ...], given: tuple[Array, Array]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(found, network(*given), strict=True))


def streamed(session: TensorRTSession, given: list[tuple[Array, Array]], chance: Any) -> list[bool]:
    """Submit and collect as chance will have it; return whether each frame came back as it should."""
    good: list[bool] = []
    sent = 0
    while len(good) < len(given):
        in_flight = sent - len(good)
        if sent < len(given) and in_flight < session.slots and (not in_flight or chance.random() < 0.6):
            session.submit(*given[sent])
            sent += 1
        else:
            good.append(same(session.collect(), given[len(good)]))
    return good


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("capturable", [True, False])
def test_frames_come_back_whole_and_in_order_whatever_the_gpu_does_first(slots: int, capturable: bool) -> None:
    for seed in SEEDS:
        cuda = StandInCuda(seed)
        trt = StandInTrt(cuda)
        trt.capturable = capturable
        session = opened(cuda, trt, slots=slots)
        assert session.graphs == capturable
        assert all(streamed(session, list(frames(12)), cuda.chance)), f"seed {seed}"
        session.close()
        assert not cuda.wrong


class WaitsNot(Cuda):
    def wait(self, stream: Any, event: Any) -> None:
        """No stream waits for another."""


class ReachesNot(Cuda):
    def reach(self, event: Any) -> None:
        """The host waits for nothing."""


class RecordsNot(Cuda):
    def record(self, event: Any, stream: Any) -> None:
        """No event stands for anything."""


@pytest.mark.parametrize("careless", [WaitsNot, ReachesNot, RecordsNot])
def test_the_stand_in_notices_a_runner_that_leaves_out_a_wait(careless: type[Cuda]) -> None:
    noticed = 0
    for seed in SEEDS:
        cuda = StandInCuda(seed)
        session = opened(cuda, face=careless(cuda), slots=2)
        try:
            noticed += not all(streamed(session, list(frames(12)), cuda.chance))
        except StageError:
            noticed += 1  # the poison was still there
        session.close()
    assert noticed > len(SEEDS) // 2


def test_outputs_on_the_gpu_are_whole_for_work_on_the_session_s_stream_and_stay_until_the_slot_s_next_turn() -> None:
    for seed in SEEDS:
        cuda = StandInCuda(seed)
        session = opened(cuda, slots=2)
        given = list(frames(10))
        seen: list[tuple[Array, ...]] = []
        for one in given:
            handed = session.run_device(*one)
            cuda.run(session.stream, partial(look, handed, seen))
        session.close()
        assert [same(found, one) for found, one in zip(seen, given, strict=True)] == [True] * 10
        assert not cuda.wrong


def look(handed: tuple[Any, ...], seen: list[tuple[Array, ...]]) -> None:
    seen.append(tuple(read(array) for array in handed))


def read(array: Any) -> Array:
    """Read memory as a library does that takes ``__cuda_array_interface__``."""
    said = array.__cuda_array_interface__
    assert (said["version"], said["typestr"], said["strides"]) == (3, "<f4", None)
    count = int(np.prod(said["shape"]))
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(said["data"][0])).reshape(said["shape"]).copy()


def test_another_shape_gets_new_buffers_and_new_graphs() -> None:
    cuda = StandInCuda(1)
    session = opened(cuda, profile=WIDE, slots=2)
    captures = cuda.calls["cudaStreamBeginCapture"]
    before = cuda.left()
    for shapes in (LARGE, SMALL, LARGE):
        session.reshape(shapes)
        assert all(streamed(session, list(frames(5, shapes)), cuda.chance))
    gc.collect()
    assert cuda.calls["cudaStreamBeginCapture"] == captures * 4
    assert cuda.left() == before
    session.close()
    assert not cuda.wrong


def test_a_shape_that_the_engine_was_not_built_for_is_refused_and_the_session_goes_on() -> None:
    cuda = StandInCuda()
    session = opened(cuda)
    with pytest.raises(StageError, match="not built for"):
        session.reshape(LARGE)
    one = next(frames(1))
    assert same(session.run(*one), one)


INPUTS: dict[str, tuple[Callable[[Array, Array], tuple[Array, ...]], str]] = {
    "another shape": (lambda frames, offset: (frames[:, :, :8], offset), "opened for"),
    "one too few": (lambda frames, offset: (frames,), "opened for"),
    "doubles": (lambda frames, offset: (frames.astype(np.float64), offset), "opened for"),
    "nan": (lambda frames, offset: (np.where(frames > 2000, np.nan, frames), offset), "NaN"),
}


@pytest.mark.parametrize("case", INPUTS)
def test_a_wrong_input_is_refused_and_the_session_goes_on(case: str) -> None:
    change, words = INPUTS[case]
    session = opened(StandInCuda())
    one = next(frames(1))
    with pytest.raises(StageError, match=words):
        session.run(*change(*one))
    assert same(session.run(*one), one)


def test_a_slot_is_not_used_before_it_was_collected() -> None:
    session = opened(StandInCuda(), slots=2)
    given = list(frames(3))
    session.submit(*given[0])
    session.submit(*given[1])
    with pytest.raises(StageError, match="collect first"):
        session.submit(*given[2])
    with pytest.raises(StageError, match="not collected"):
        session.run(*given[2])
    with pytest.raises(StageError, match="not collected"):
        session.reshape(SMALL)
    assert [same(session.collect(), one) for one in given[:2]] == [True, True]
    with pytest.raises(StageError, match="no submitted frame"):
        session.collect()


@pytest.mark.parametrize("written", ["nothing", "ends"])
def test_an_output_that_the_network_did_not_write_is_an_error_and_not_the_last_frame(written: str) -> None:
    cuda = StandInCuda()
    trt = StandInTrt(cuda)
    session = opened(cuda, trt, slots=1)
    given = list(frames(2))
    session.run(*given[0])
    trt.written = written
    with pytest.raises(StageError, match="not written"):
        session.run(*given[1])
    with pytest.raises(StageError, match="of no use any more"):
        session.run(*given[1])


NO = {
    "deserialize_cuda_engine": (1, "does not load"),
    "get_tensor_dtype": (3, "float32"),
    "create_runtime_config": (1, "no runtime configuration"),
    "set_runtime_cache": (1, "cache of kernels"),
    "create_execution_context": (2, "makes no context"),
    "set_input_shape": (2, "refuses the shape"),
    "infer_shapes": (1, "cannot tell the shapes of total"),
    "get_tensor_shape": (1, "cannot tell the shapes"),
    "set_tensor_address": (3, "refuses the buffer of 'total'"),
    "execute_async_v3": (1, "did not take"),
}


@pytest.mark.parametrize("call", NO)
def test_whatever_says_no_is_an_error_and_leaves_nothing_behind(call: str) -> None:
    number, words = NO[call]
    cuda = StandInCuda()
    with pytest.raises(StageError, match=words):
        opened(cuda, StandInTrt(cuda, {call: number}))
    gc.collect()
    assert cuda.left() == {}
    assert not cuda.wrong


def test_a_no_while_capturing_ends_the_capture() -> None:
    cuda = StandInCuda()
    with pytest.raises(StageError, match="did not take"):
        opened(cuda, StandInTrt(cuda, {"execute_async_v3": 2}), slots=1)
    assert cuda.calls["cudaStreamBeginCapture"] == cuda.calls["cudaStreamEndCapture"] == 1
    gc.collect()
    assert cuda.left() == {}


def test_a_no_to_a_frame_without_graphs_is_an_error_at_once() -> None:
    cuda = StandInCuda()
    trt = StandInTrt(cuda)
    trt.capturable = False
    session = opened(cuda, trt, slots=1)
    one = next(frames(1))
    assert same(session.run(*one), one)
    trt.refuse["execute_async_v3"] = 1
    with pytest.raises(StageError, match="did not take"):
        session.run(*one)


CHECKED = (
    "cudaMalloc", "cudaHostAlloc", "cudaStreamCreateWithFlags", "cudaEventCreateWithFlags", "cudaMemsetAsync",
    "cudaStreamSynchronize", "cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate",
)  # fmt: skip
EACH_FRAME = (
    "cudaEventSynchronize", "cudaStreamWaitEvent", "cudaMemcpyAsync", "cudaEventRecord", "cudaGraphLaunch",
)  # fmt: skip


@pytest.mark.parametrize("call", CHECKED)
@pytest.mark.parametrize("number", [1, 2])
def test_a_cuda_call_that_fails_while_opening_is_an_error_and_leaves_nothing_behind(call: str, number: int) -> None:
    cuda = StandInCuda()
    cuda.fail = {call: number}
    with pytest.raises(StageError, match=f"{call}.*error 999"):
        opened(cuda, slots=2)
    gc.collect()
    assert cuda.left() == {}
    assert not cuda.wrong


@pytest.mark.parametrize("call", EACH_FRAME)
def test_a_cuda_call_that_fails_in_a_frame_ends_the_session(call: str) -> None:
    cuda = StandInCuda()
    session = opened(cuda)
    cuda.fail = {call: cuda.calls[call] + 1}
    one = next(frames(1))
    with pytest.raises(StageError, match=f"{call}.*error 999"):
        session.run(*one)
    with pytest.raises(StageError, match="of no use any more"):
        session.run(*one)
    session.close()
    gc.collect()
    assert cuda.left() == {}


def test_closing_gives_everything_back_and_what_is_still_looked_at_last() -> None:
    cuda = StandInCuda()
    session = opened(cuda, slots=3)
    given = list(frames(2))
    kept = session.run(*given[0])[0]
    session.submit(*given[1])
    session.close()
    session.close()
    gc.collect()
    assert cuda.left() == {"pinned": 1}
    assert np.array_equal(kept, network(*given[0])[0])
    with pytest.raises(ValueError, match="read-only"):
        kept[...] = 0
    del kept
    gc.collect()
    assert cuda.left() == {}
    assert not cuda.wrong
    with pytest.raises(StageError, match="closed"):
        session.run(*given[0])


def test_a_session_that_nobody_closed_gives_everything_back_when_it_goes() -> None:
    cuda = StandInCuda()
    session = opened(cuda, slots=3, profile=WIDE)
    session.reshape(LARGE)
    given = list(frames(2, LARGE))
    session.run(*given[0])
    session.submit(*given[1])
    del session
    gc.collect()
    assert cuda.left() == {}
    assert not cuda.wrong


def test_a_session_that_failed_and_was_dropped_gives_everything_back() -> None:
    cuda = StandInCuda()
    session = opened(cuda)
    cuda.fail = {"cudaGraphLaunch": cuda.calls["cudaGraphLaunch"] + 1}
    with pytest.raises(StageError, match="cudaGraphLaunch"):
        session.run(*next(frames(1)))
    del session
    gc.collect()
    assert cuda.left() == {}
    assert not cuda.wrong


def test_frames_allocate_nothing() -> None:
    cuda = StandInCuda()
    session = opened(cuda)
    before = cuda.left()
    assert all(streamed(session, list(frames(30)), cuda.chance))
    assert cuda.left() == before


def test_rtx_compiles_for_the_shape_at_once_and_keeps_its_kernels() -> None:
    cuda = StandInCuda()
    trt = StandInTrt(cuda)
    session = opened(cuda, trt, kernels=KERNELS, slots=2)
    assert trt.given_kernels == [KERNELS]
    assert session.kernels() == KERNELS
    assert len({id(context) for context in trt.contexts}) == 2
    assert len({context.scratch for context in trt.contexts}) == 1


def test_tensorrt_11_has_no_cache_of_kernels_and_always_captures() -> None:
    cuda = StandInCuda()
    trt = StandInTrt(cuda)
    trt.capturable = False
    session = opened(cuda, trt, flavour="tensorrt", profile=static(SMALL))
    assert session.kernels() == b""
    assert session.graphs
    one = next(frames(1))
    assert same(session.run(*one), one)


DRIVERS: dict[str, tuple[StandInCuda, str]] = {
    "no driver": (StandInCuda(version=0, devices=(35, None)), "driver is not installed; CUDA 13 is needed"),
    "an old driver": (StandInCuda(version=12040, devices=(35, None)), "serves CUDA 12.4; CUDA 13 is needed"),
    "a driver that fails": (StandInCuda(devices=(100, None)), "error 100"),
    "no gpu": (StandInCuda(devices=(0, 0)), "no NVIDIA GPU"),
    "a gpu": (StandInCuda(), "^$"),
}


@pytest.mark.parametrize("case", DRIVERS)
def test_what_is_missing_is_said(case: str) -> None:
    cudart, words = DRIVERS[case]

    assert re.search(words, Cuda(cudart).missing())
