"""Opening a network: what is chosen, what it computes, what is refused."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from models.runtime import RUNTIMES, available, choose, open_session, openvino
from models.runtime import torch as torch_runtime
from models.runtime.cuda_driver import gpus
from models.runtime.face import face
from models.runtime.registry import Runtime
from models.runtime.selfcheck import TOLERANCES, compare, distance, drawn, example
from models.runtime.session import Floats, Session, Shapes
from stream.errors import RuntimeUnavailable, StageError
from stream.metrics import REGISTRY

SHAPES = {"frames": (1, 2, 96, 160), "offset": (1, 2), "scale": (1, 2)}
ONE = {"threads": 1}
no_gpu = pytest.mark.skipif(gpus() > 0, reason="a GPU is here")
a_gpu = pytest.mark.skipif(gpus() == 0, reason="no NVIDIA GPU here")

ON_CPU = [("openvino", precision) for precision in openvino.precisions()] + [("torch", "fp32")]


def inputs(level: float = 30.0, contrast: float = 1200.0) -> tuple[Floats, Floats, Floats]:
    """Return drawn cells as a camera with this background and contrast shows them."""
    frames, offset, scale = drawn(SHAPES).values()
    counts = np.round((frames - offset[..., None, None]) / scale[..., None, None] * contrast + level)
    return counts, np.full_like(offset, level), np.full_like(scale, contrast)


def reference(network: Path, given: tuple[Floats, ...]) -> list[Floats]:
    session = open_session(network, SHAPES, runtime="onnxruntime", **ONE)
    return [array.copy() for array in session.run(*given)]


@pytest.mark.parametrize(("runtime", "precision"), ON_CPU)
@pytest.mark.parametrize(
    ("level", "contrast"), [(30, 1200), (30, 4000), (33_000, 1500), (61_234, 333)], ids=lambda v: f"{v}"
)
def test_every_runtime_computes_what_the_reference_does(
    network: Path, runtime: str, precision: str, level: float, contrast: float
) -> None:
    given = inputs(level, contrast)
    session = open_session(network, SHAPES, runtime=runtime, precision=precision, **ONE)
    assert (session.runtime, session.precision) == (runtime, precision)
    found = session.run(*given)
    assert [array.shape for array in found] == [(1, 1, 96, 160), (1, 7, 48, 80)]
    compare(found, reference(network, given), session)


@a_gpu
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_torch_on_a_gpu_computes_what_the_reference_does(network: Path, precision: str) -> None:
    session = open_session(network, SHAPES, runtime="torch", precision=precision)
    for level in (30.0, 33_000.0):
        given = inputs(level)
        compare(session.run(*given), reference(network, given), session)


def test_half_precision_on_a_cpu_is_refused(network: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"no fp16 on this CPU; it has .*fp32"):
        open_session(network, SHAPES, runtime="openvino", precision="fp16", **ONE)


@no_gpu
def test_on_a_cpu_the_first_choice_is_openvino_in_its_fastest_precision(
    network: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "models.runtime.choose"):
        session = open_session(network, SHAPES, **ONE)
    assert (session.runtime, session.precision) == ("openvino", openvino.precisions()[0])
    assert session.reason.startswith("first that works here; agrees with onnxruntime, a pedestal changes nothing; not ")
    assert session.reason in caplog.text
    labels = {"model": "small", "runtime": "openvino", "precision": session.precision, "reason": session.reason}
    assert REGISTRY.get_sample_value("cytoloop_runtime_info", labels) == 1


GPUS = {
    "a GPU and a torch for CPUs": (1, False, "cannot use the NVIDIA GPU that is here: install a torch whose CUDA"),
    "no GPU": (0, False, ""),
    "no GPU that the driver shows": (0, True, ""),
}


@pytest.mark.parametrize("case", GPUS)
def test_torch_does_not_silently_take_the_cpu_where_a_gpu_is(
    network: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    torch = pytest.importorskip("torch")
    there, usable, said = GPUS[case]
    monkeypatch.setattr(torch_runtime, "gpus", lambda: there)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    if not said:
        session = open_session(network, SHAPES, runtime="torch", **ONE)
        assert session.reason.startswith("asked for; CPU; agrees with onnxruntime")
        return
    with pytest.raises(RuntimeUnavailable, match=said):
        open_session(network, SHAPES, runtime="torch", **ONE)
    if not gpus():
        chosen = open_session(network, SHAPES, **ONE)
        assert (chosen.runtime, said in chosen.reason) == ("openvino", True)


class Trial:
    """A runtime whose sessions are onnxruntime's, spoilt on demand; keeps what it opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, wrong: bool = False) -> None:
        self.opened: list[Trial.Opened] = []
        self._wrong, self._reference = wrong, RUNTIMES["onnxruntime"]()
        runtime = Runtime(lambda: "", self._open)
        monkeypatch.setattr(choose, "RUNTIMES", {"trial": lambda: runtime, "onnxruntime": RUNTIMES["onnxruntime"]})
        monkeypatch.setattr(choose, "_VERIFIED", {})

    class Opened:
        runtime, precision = "trial", "fp32"

        def __init__(self, session: Session, wrong: bool, reason: str) -> None:
            self.reason, self.fails, self.closed = reason, False, 0
            self._session, self._wrong = session, wrong

        def run(self, *given: Floats) -> tuple[Floats, ...]:
            if self.fails:
                raise StageError("the GPU lost it")
            found = self._session.run(*given)
            return tuple(one + 1 for one in found) if self._wrong else found

        def close(self) -> None:
            self.closed += 1
            self._session.close()

    def _open(self, model: Path, shapes: Shapes, precision: str, threads: int) -> Session:
        session = self._reference.open(model, shapes, "fp32", threads)
        made = Trial.Opened(session, self._wrong, f"engine built, the {len(self.opened) + 1}.")
        self.opened.append(made)
        return made


def test_what_does_not_pass_the_self_check_is_closed(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(monkeypatch, wrong=True)
    with pytest.raises(RuntimeUnavailable, match="computes wrongly"):
        open_session(network, SHAPES, runtime="trial", **ONE)
    assert [one.closed for one in trial.opened] == [1, 1], "what was to run, and what was compared"


def shown(model: str) -> list[str]:
    metrics = next(one for one in REGISTRY.collect() if one.name == "cytoloop_runtime_info")
    return [one.labels["reason"] for one in metrics.samples if one.labels["model"] == model]


def test_how_it_was_opened_is_said_and_only_the_newest_choice_is_shown(
    network: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trial = Trial(monkeypatch)
    with caplog.at_level(logging.INFO, "models.runtime.choose"):
        session = open_session(network, SHAPES, runtime="trial", **ONE)
    reason = "asked for; engine built, the 1.; agrees with onnxruntime, a pedestal changes nothing"
    assert (session.reason, shown("small")) == (reason, [reason])
    assert reason in caplog.text
    second = open_session(network, SHAPES, runtime="trial", **ONE)
    assert shown("small") == [second.reason]
    assert second.reason != reason
    trial.opened[-1].fails = True
    with pytest.raises(StageError, match="lost it"):
        second.run(*inputs())
    compare(second.run(*inputs()), reference(network, inputs()), second)
    assert shown("small") != [reason]


def test_a_choice_that_changes_after_a_failure_is_shown(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(monkeypatch)
    session = open_session(network, SHAPES, **ONE)
    assert session.runtime == "trial"
    trial.opened[0].fails = True
    with pytest.raises(StageError, match="lost it"):
        session.run(*inputs())
    monkeypatch.setattr(choose, "RUNTIMES", {"onnxruntime": RUNTIMES["onnxruntime"]})
    session.run(*inputs())
    assert session.runtime == "onnxruntime"
    assert shown("small") == [session.reason]


@pytest.mark.parametrize("kept", [10, 0.5, 0.98])
def test_stored_outputs_that_were_cut_short_are_named(network: Path, tmp_path: Path, kept: float) -> None:
    model, stored = tmp_path / "small.onnx", tmp_path / "small.check.npz"
    shutil.copy(network, model)
    given = dict(zip(("in_frames", "in_offset", "in_scale"), inputs(), strict=True))
    np.savez_compressed(stored, **given)
    whole = stored.read_bytes()
    stored.write_bytes(whole[: int(kept if kept > 1 else kept * len(whole))])
    with pytest.raises(StageError, match=r"small\.check\.npz (cannot be read|does not belong)"):
        example(model, face(model), SHAPES, None)
    with pytest.raises(RuntimeUnavailable, match=r"small\.check\.npz"):
        open_session(model, SHAPES, runtime="openvino", **ONE)


def test_stored_outputs_whose_bytes_were_changed_are_named(network: Path, tmp_path: Path) -> None:
    model, stored = tmp_path / "small.onnx", tmp_path / "small.check.npz"
    shutil.copy(network, model)
    np.savez_compressed(stored, in_frames=inputs()[0])
    content = bytearray(stored.read_bytes())
    content[200:400] = b"x" * 200
    stored.write_bytes(content)
    with pytest.raises(StageError, match=r"small\.check\.npz cannot be read"):
        example(model, face(model), SHAPES, None)


def test_a_network_that_computes_something_else_than_was_stored_is_run_by_nothing(
    network: Path, tmp_path: Path
) -> None:
    model = tmp_path / "small.onnx"
    shutil.copy(network, model)
    given = inputs()
    wanted = reference(network, given)
    names = dict(zip(("in_frames", "in_offset", "in_scale"), given, strict=True))
    np.savez(tmp_path / "small.check.npz", **names, out_foreground=wanted[0], out_maps=wanted[1])
    agrees = open_session(model, SHAPES, runtime="onnxruntime", **ONE)
    assert "agrees with the stored outputs" in agrees.reason

    other = tmp_path / "other.onnx"
    shutil.copy(network, other)
    np.savez(tmp_path / "other.check.npz", **names, out_foreground=wanted[0], out_maps=-wanted[1])
    with pytest.raises(RuntimeUnavailable, match=r"openvino \(\w+\) computes wrongly: output 1 is off by"):
        open_session(other, SHAPES, runtime="openvino", **ONE)
    with pytest.raises(RuntimeUnavailable, match=r"no runtime can run other.onnx here: .*openvino.*onnxruntime"):
        open_session(other, SHAPES, **ONE)


def test_the_self_check_sees_an_offset_that_is_rounded_before_it_meets_the_frames(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "bf16" not in openvino.precisions():
        pytest.skip("this CPU has no bf16")
    monkeypatch.setattr(openvino, "_widen_scalars", lambda network: None)
    with pytest.raises(RuntimeUnavailable, match="computes wrongly"):
        # another number of threads: nothing compiled or compared before is taken
        open_session(network, SHAPES, runtime="openvino", precision="bf16", threads=2)


REFUSED = {
    "unknown runtime": ({"runtime": "openvinyl"}, RuntimeUnavailable, "known: auto, tensorrt, .*openvino"),
    "precision that onnxruntime lacks": ({"runtime": "onnxruntime", "precision": "bf16"}, RuntimeUnavailable, "bf16"),
    "precision that nobody has": ({"runtime": "openvino", "precision": "int3"}, RuntimeUnavailable, "no int3 on this"),
    "no such input": ({"shapes": {"image": (1, 2, 96, 160)}}, StageError, "takes frames .* given for image"),
    "sides that are no multiple": (
        {"shapes": {**SHAPES, "frames": (1, 2, 100, 160)}}, StageError, r"16\*rows.*'frames' cannot be \(1, 2, 100"
    ),
    "wrong number of frames": ({"shapes": {**SHAPES, "frames": (1, 3, 96, 160)}}, StageError, "'frames' cannot be"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_opened_says_why(network: Path, case: str) -> None:
    asked, error, said = REFUSED[case]
    with pytest.raises(error, match=said):
        open_session(network, **{"shapes": SHAPES, **asked})  # type: ignore[arg-type]


@no_gpu
@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt-rtx"])
def test_what_needs_a_gpu_is_refused_without_one_and_nothing_else_is_taken(network: Path, runtime: str) -> None:
    assert available()[runtime]
    with pytest.raises(RuntimeUnavailable, match=f"{runtime} cannot be used here: "):
        open_session(network, SHAPES, runtime=runtime)


def test_files_that_are_no_network_are_named(tmp_path: Path, network: Path) -> None:
    with pytest.raises(StageError, match="no network at"):
        open_session(tmp_path / "none.onnx", SHAPES)
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(network.read_bytes()[:-100])
    with pytest.raises(StageError, match=r"torn.onnx: no whole ONNX file"):
        open_session(torn, SHAPES)


def test_an_operator_that_nobody_knows_is_everybodys_reason(network: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange.onnx"
    strange.write_bytes(network.read_bytes().replace(b"Sigmoid", b"Sigmund"))
    with pytest.raises(
        RuntimeUnavailable, match=r"openvino cannot run strange.onnx: .*; onnxruntime: onnxruntime cannot"
    ):
        open_session(strange, SHAPES, **ONE)


def test_available_names_every_runtime() -> None:
    said = available()
    assert list(said) == list(RUNTIMES) == ["tensorrt", "tensorrt-rtx", "torch", "openvino", "onnxruntime"]
    assert said["openvino"] == said["onnxruntime"] == said["torch"] == ""


def bad(given: tuple[Floats, ...], **changes: Floats) -> tuple[Floats, ...]:
    named = dict(zip(SHAPES, given, strict=True)) | changes
    return tuple(named.values())


def spoilt(array: Floats, value: float) -> Floats:
    array = array.copy()
    array[0, 1, -1, -1] = value
    return array


MISUSED = {
    "other sides": (
        lambda g: bad(g, frames=g[0][..., :80].copy()),
        r"'frames' is float32 \(1, 2, 96, 80\); opened for",
    ),
    "rows and columns exchanged": (lambda g: bad(g, frames=g[0].swapaxes(2, 3).copy()), r"\(1, 2, 160, 96\)"),
    "float64": (lambda g: bad(g, frames=g[0].astype(np.float64)), "is float64"),
    "not contiguous": (lambda g: bad(g, frames=np.asfortranarray(g[0])), "'frames' is not C-contiguous"),
    "NaN in the last pixel": (lambda g: bad(g, frames=spoilt(g[0], np.nan)), "'frames' holds NaN or infinity"),
    "infinity": (lambda g: bad(g, frames=spoilt(g[0], -np.inf)), "'frames' holds NaN or infinity"),
    "NaN scale": (lambda g: bad(g, scale=g[2] * np.nan), "'scale' holds NaN"),
    "an input too few": (lambda g: g[:2], r"2 inputs given; the network takes \['frames', 'offset', 'scale'\]"),
}


@pytest.mark.parametrize("case", MISUSED)
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "torch"])
def test_a_run_refuses_what_would_give_plausible_nonsense(network: Path, runtime: str, case: str) -> None:
    session = open_session(network, SHAPES, runtime=runtime, **ONE)
    make, said = MISUSED[case]
    with pytest.raises(StageError, match=said):
        session.run(*make(inputs()))
    assert np.isfinite(session.run(*inputs())[0]).all(), "the session must survive"


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "torch"])
def test_outputs_are_read_only_and_follow_the_inputs(network: Path, runtime: str) -> None:
    session = open_session(network, SHAPES, runtime=runtime, **ONE)
    given = inputs()
    for array in given:
        array.flags.writeable = False
    first = session.run(*given)
    kept = [array.copy() for array in first]
    with pytest.raises(ValueError, match="read-only"):
        first[0][...] = 0
    brighter = session.run(given[0] + 200, *given[1:])
    assert distance(brighter[1], kept[1])[0] > 10 * TOLERANCES[session.precision].rms, "other frames, other maps"
    again = session.run(*given)
    assert [np.array_equal(a, b) for a, b in zip(again, kept, strict=True)] == [True, True]
    session.close()
    session.close()
    with pytest.raises(StageError, match="closed"):
        session.run(*given)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "torch"])
def test_fields_in_several_threads_do_not_disturb_each_other(network: Path, runtime: str) -> None:
    given = [inputs(30.0, contrast) for contrast in (400.0, 800.0, 1600.0)]
    alone = [[array.copy() for array in open_session(network, SHAPES, runtime=runtime, **ONE).run(*g)] for g in given]
    sessions = [open_session(network, SHAPES, runtime=runtime, **ONE) for _ in given]

    def field(session: Session, mine: tuple[Floats, ...], wanted: list[Floats]) -> bool:
        return all(
            np.array_equal(found, want)
            for _ in range(20)
            for found, want in zip(session.run(*mine), wanted, strict=True)
        )

    with ThreadPoolExecutor(len(given)) as pool:
        assert list(pool.map(field, sessions, given, alone)) == [True] * len(given)


def test_choosing_loads_no_package_that_does_not_run(network: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from models.runtime import open_session, available; available(); "
        f"s = open_session(Path({str(network)!r}), {SHAPES!r}, runtime='openvino'); "
        "print(sorted({'torch', 'onnx', 'tensorrt', 'tensorrt_rtx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]" or gpus(), done.stdout
