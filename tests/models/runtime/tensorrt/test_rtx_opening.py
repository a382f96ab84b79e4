"""From a file to a session: what is built, what comes from the store, what is said when neither can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.runtime.tensorrt import opening
from models.runtime.tensorrt import store as store_module
from models.runtime.tensorrt.audit import Audit
from models.runtime.tensorrt.bindings import Bindings
from models.runtime.tensorrt.build import Built
from models.runtime.tensorrt.cuda import Cuda, Gpu
from models.runtime.tensorrt.opening import Wanted, engine_key, open_session, open_wanted
from models.runtime.tensorrt.session import TensorRTSession
from models.runtime.tensorrt.shapes import Range, static
from models.runtime.tensorrt.store import EngineStore
from stream.errors import RuntimeUnavailable, StageError
from tests.models.runtime.tensorrt.stand_in_cuda import StandInCuda
from tests.models.runtime.tensorrt.stand_in_trt import ENGINE, KERNELS, StandInTrt

SHAPES = {"frames": (1, 2, 16, 32), "offset": (1, 2)}


class Workshop:
    """A stand-in GPU with a store, where what is built is counted."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.cuda = StandInCuda()
        self.trt = StandInTrt(self.cuda)
        self.bindings = Bindings("tensorrt-rtx", self.trt)
        self.store = EngineStore(root / "engines", root / "state" / "engines.key")
        self.built: list[dict[str, Any]] = []
        self.fails = False
        (root / "model.onnx").write_bytes(b"weights")
        self.wanted = Wanted(root / "model.onnx", "fp32", SHAPES, static(SHAPES), 1)
        monkeypatch.setattr(opening, "build", self._build)

    def open(self) -> TensorRTSession:
        return open_wanted(self.bindings, Cuda(self.cuda), self.wanted, self.store)

    def file(self) -> Path:
        return next(file for file in (self.root / "engines").iterdir() if "kernels" not in file.name)

    def _build(self, bindings: Bindings, model: bytes, plan: object, **options: Any) -> Built:
        if self.fails:
            raise StageError("no memory for tactics")
        self.built.append({"model": model, **options})
        return Built(ENGINE, Audit("fp32", 1, (), ()))


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    return Workshop(tmp_path, monkeypatch)


def test_an_engine_is_built_once_and_kept_with_its_kernels(workshop: Workshop) -> None:
    first, second = workshop.open(), workshop.open()
    assert workshop.built == [{"model": b"weights", "capabilities": ["8.6"], "precision": "fp32"}]
    assert "built in" in first.reason
    assert second.reason == "Stand-in, engine from the store"
    assert workshop.trt.given_kernels == [KERNELS]
    assert workshop.trt.loaded == [ENGINE, ENGINE]


def test_an_engine_that_was_altered_never_reaches_tensorrt(workshop: Workshop) -> None:
    workshop.open().close()
    file = workshop.file()
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    workshop.open()
    assert len(workshop.built) == 2
    assert set(workshop.trt.loaded) == {ENGINE}


def test_a_stored_engine_that_does_not_load_any_more_is_built_anew(workshop: Workshop) -> None:
    workshop.open().close()
    workshop.trt.refuse["deserialize_cuda_engine"] = 1
    session = workshop.open()
    assert len(workshop.built) == 2
    assert "built in" in session.reason
    assert "from the store" in workshop.open().reason


def test_an_engine_that_does_not_run_is_not_kept(workshop: Workshop) -> None:
    workshop.trt.refuse["execute_async_v3"] = 1
    with pytest.raises(StageError, match="did not take"):
        workshop.open()
    assert list((workshop.root / "engines").iterdir()) == []


def test_a_full_disk_costs_no_session(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(store_module.os, "fsync", full)
    session = workshop.open()
    assert "built in" in session.reason
    assert caplog.text.count("no space left; going on without it") == 2, "the kernels and the engine"
    session.close()


GPU = Gpu("RTX A", "8.6", "13.0")
OTHER: dict[str, Callable[[dict[str, Any]], object]] = {
    "model": lambda has: has.update(model=b"other"),
    "flavour": lambda has: setattr(has["bindings"], "flavour", "tensorrt"),
    "version": lambda has: setattr(has["bindings"], "version", "1.8"),
    "gpu": lambda has: has.update(gpu=replace(GPU, name="RTX B")),
    "capability": lambda has: has.update(gpu=replace(GPU, capability="8.9")),
    "driver": lambda has: has.update(gpu=replace(GPU, driver="13.1")),
    "precision": lambda has: has.update(wanted=replace(has["wanted"], precision="fp16")),
    "profile": lambda has: has.update(
        wanted=replace(has["wanted"], profile={**static(SHAPES), "offset": Range((1, 2), (1, 2), (4, 2))})
    ),
}


@pytest.mark.parametrize("part", OTHER)
def test_an_engine_is_another_one_where_any_of_its_parts_is(workshop: Workshop, part: str) -> None:
    has: dict[str, Any] = {"bindings": workshop.bindings, "gpu": GPU, "model": b"weights", "wanted": workshop.wanted}
    before = engine_key(**has)
    assert engine_key(**has) == before
    OTHER[part](has)
    assert engine_key(**has) != before


def opened(network: Path, workshop: Workshop, **changes: Any) -> TensorRTSession:
    shapes = {"frames": (1, 2, 32, 32), "offset": (1, 2), "scale": (1, 2)}
    given = {"shapes": shapes, "precision": "auto", "flavour": "tensorrt-rtx", "store": workshop.store, **changes}
    return open_session(network, given.pop("shapes"), **given)


@pytest.fixture
def _here(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening.module, "load", lambda flavour: workshop.bindings)
    monkeypatch.setattr(opening.driver, "load", lambda: Cuda(workshop.cuda))


@pytest.mark.usefixtures("_here")
def test_half_precision_is_chosen_where_it_lies_beside(network: Path, workshop: Workshop) -> None:
    assert opened(network, workshop).precision == "fp16"
    assert workshop.built[0]["model"] == network.with_suffix(".fp16.onnx").read_bytes()
    assert opened(network, workshop, precision="fp32").precision == "fp32"
    assert workshop.built[1]["model"] == network.read_bytes()


@pytest.mark.usefixtures("_here")
def test_what_cannot_be_lets_the_next_runtime_try(network: Path, workshop: Workshop) -> None:
    with pytest.raises(RuntimeUnavailable, match="not in bf16"):
        opened(network, workshop, precision="bf16")
    workshop.fails = True
    with pytest.raises(RuntimeUnavailable, match=r"tensorrt-rtx does not run small\.onnx: no memory for tactics"):
        opened(network, workshop)
    workshop.cuda.devices = (0, 0)
    with pytest.raises(RuntimeUnavailable, match="no NVIDIA GPU"):
        opened(network, workshop)


@pytest.mark.usefixtures("_here")
def test_shapes_that_are_not_the_network_s_are_nobody_s_fault_but_the_caller_s(
    network: Path, workshop: Workshop
) -> None:
    with pytest.raises(StageError, match="cannot be") as caught:
        opened(network, workshop, shapes={"frames": (1, 2, 30, 32), "offset": (1, 2), "scale": (1, 2)})
    assert not isinstance(caught.value, RuntimeUnavailable)


@pytest.mark.usefixtures("_here")
def test_a_gpu_that_tensorrt_rtx_does_not_serve_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opening.unavailable("tensorrt-rtx") == ""
    monkeypatch.setattr(StandInCuda, "capability", (9, 0))
    assert opening.unavailable("tensorrt-rtx") == "tensorrt-rtx does not serve Stand-in (9.0)"
