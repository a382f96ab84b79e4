"""TensorRT-RTX itself, which needs no GPU to compile: what it builds, and what we refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from models.runtime.tensorrt import check, check_model, compile_check, unavailable
from models.runtime.tensorrt.bindings import load
from models.runtime.tensorrt.build import Built, Plan, build
from models.runtime.tensorrt.check import CAPABILITIES, compile_for
from models.runtime.tensorrt.shapes import Extent, Range, dynamic, fits, static
from stream.errors import RuntimeUnavailable, StageError

trt = pytest.importorskip("tensorrt_rtx")
ZOO = Path(__file__).parents[4] / "models" / "zoo"
SHIPPED = sorted(path for path in ZOO.glob("*.onnx") if not path.name.endswith(".fp16.onnx"))
SHAPES = {"frames": (1, 2, 64, 96), "offset": (1, 2), "scale": (1, 2)}


def built(model: Path, plan: Plan, precision: str = "fp16", capability: str = "8.6") -> Built:
    return build(load("tensorrt-rtx"), model.read_bytes(), plan, capabilities=[capability], precision=precision)


def compiled(model: Path, precision: str) -> Built:
    return compile_for(model, ["8.6"], precision=precision, free=True)


def half(model: Path) -> Path:
    return model.with_suffix(".fp16.onnx")


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("free", [False, True], ids=["static", "dynamic"])
def test_a_network_compiles_for_gpus_that_are_not_here(
    network: Path, capability: str, precision: str, free: bool
) -> None:
    assert compile_check(network, capability, precision=precision, dynamic=free) == "ok"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("model", SHIPPED, ids=lambda model: model.stem)
def test_every_shipped_network_compiles(model: Path) -> None:
    assert check_model(model) == dict.fromkeys(CAPABILITIES, "ok")


def test_convolutions_compute_in_the_precision_that_was_asked_for(network: Path) -> None:
    low, high = (compile_for(network, ["8.9"], precision=p, free=False).audit for p in ("fp16", "fp32"))
    assert low.convolutions == high.convolutions == 7
    assert len(low.first) == 2  # minus the offset, over the scale
    assert high.first == high.stray == ()


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a gpu that it does not serve": (lambda m: built(half(m), dynamic, capability="9.0"), "no engines for.* 9.0"),
    "float where half was asked for": (lambda m: built(m, dynamic), "layers not in fp16: .* more"),
    "half where float was asked for": (lambda m: built(half(m), dynamic, "fp32"), "layers not in fp32"),
    "sides that TensorRT only warns of": (
        lambda m: built(half(m), lambda _: {**dynamic_ranges(), "frames": ranged((1, 2, 70, 64))}),
        "shapes do not suit the network: .*kMIN",
    ),
    "sides that cannot be": (
        lambda m: built(half(m), lambda _: static({**SHAPES, "frames": (1, 2, 64, 102)})),
        "builds no engine for 8.6: .*",
    ),
    "a rank that cannot be": (lambda m: built(half(m), lambda _: static({**SHAPES, "scale": (1,)})), "cannot be"),
    "an input too few": (lambda m: built(half(m), lambda _: static({"frames": (1, 2, 64, 64)})), "the network takes"),
    "no onnx": (lambda m: built(Path(__file__), dynamic), "does not parse"),
    "no such file": (lambda m: compiled(m.parent / "none.onnx", "fp16"), "does not exist"),
    "no such precision": (lambda m: compiled(m, "bf16"), "not in bf16"),
}  # fmt: skip


def ranged(least: tuple[int, ...]) -> Range:
    return Range(least, (1, 2, 512, 512), (4, 2, 2048, 2048))


def dynamic_ranges() -> dict[str, Range]:
    two = Range((1, 2), (1, 2), (4, 2))
    return {"frames": ranged((1, 2, 64, 64)), "offset": two, "scale": two}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_run_is_refused_with_the_reason(network: Path, case: str) -> None:
    make, words = WRONG[case]
    with pytest.raises(StageError, match=words):
        make(network)


def test_a_capability_that_is_refused_without_an_exception_is_an_error() -> None:
    class Config:
        num_compute_capabilities = 0

        def set_compute_capability(self, capability: Any, index: int) -> bool:
            return False

    with pytest.raises(StageError, match=r"refuses compute capability 8\.6"):
        load("tensorrt-rtx").target(Config(), ["8.6"])


def test_a_capability_is_blamed_only_where_it_fails_alone(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(model: Path, capabilities: Sequence[str], precision: str, free: bool) -> str:
        return "too new" if "8.9" in capabilities and (precision, free) == ("fp32", True) else "ok"

    monkeypatch.setattr(check, "_said", said)
    assert check_model(network) == {"8.6": "ok", "8.9": "fp32, dynamic shapes: too new", "12.0": "ok"}


def test_profiles() -> None:
    wide = dynamic({"frames": (-1, 2, -1, -1), "scale": (-1, 2)})
    assert wide["frames"] == Range((1, 2, 64, 64), (1, 2, 512, 512), (4, 2, 2048, 2048))
    assert wide["scale"] == Range((1, 2), (1, 2), (4, 2))
    assert fits(wide, {"frames": (2, 2, 64, 1024), "scale": (2, 2)})
    assert not fits(wide, {"frames": (2, 2, 48, 1024), "scale": (2, 2)})
    assert not fits(wide, {"frames": (2, 2, 64, 1024)})
    with pytest.raises(StageError, match="multiples of 16"):
        Extent(least=(1, 70, 64))
    with pytest.raises(StageError, match="must rise"):
        Extent(least=(1, 1024, 64))
    with pytest.raises(StageError, match="axis 1 is free"):
        dynamic({"state": (1, -1, 64, 64)})


def test_why_it_cannot_run_here_is_said() -> None:
    assert "there are tensorrt, tensorrt-rtx" in unavailable("tensorrt-12")
    assert isinstance(unavailable("tensorrt-rtx"), str)
    with pytest.raises(RuntimeUnavailable, match="no TensorRT is called"):
        load("trt")
