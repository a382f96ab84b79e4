"""Whether a network is whole, computes rightly on what is installed here, and compiles for GPUs that are not here."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from models import zoo
from models.zoo import stored
from models.zoo.card import sha256
from stream.errors import ConfigError, CytoloopError, StageError

OK = "ok"


def check(name: str | Path, *, runtimes: Collection[str] = (), compile_rtx: bool = True) -> dict[str, Any]:
    """Open a network with every runtime that is available and compare it with its stored outputs.

    Parameters
    ----------
    runtimes
        Only these, each of which has to be here; none: all that are.
    compile_rtx
        Whether to compile for TensorRT-RTX too.

    Returns
    -------
    dict
        ``name``; ``files``: "ok" or what differs from the card; ``runtimes``: for each "ok" or a reason;
        ``tensorrt_rtx``: the same for each compute capability; ``said``: what each runtime that is ok compared;
        ``failures``: what is wrong, as sentences. A compiler that is not installed is no failure, nor is a runtime
        that was not asked for.

    Raises
    ------
    ConfigError
        There is no such network or runtime.
    """
    model = zoo.path(name)
    _known(runtimes)
    failures: list[str] = []
    files = _files(model, shipped=model.parent == zoo.HERE)
    if files != OK:
        failures.append(f"files: {files}")
    opened, said = _runtimes(model, runtimes, failures)
    compiled = _compiled(model, failures) if compile_rtx else {}
    return {
        "name": model.stem, "files": files, "runtimes": opened, "tensorrt_rtx": compiled, "said": said,
        "failures": failures,
    }  # fmt: skip


def _known(runtimes: Collection[str]) -> None:
    from models.runtime import RUNTIMES

    for runtime in runtimes:
        if runtime not in RUNTIMES:
            raise ConfigError(f"runtime '{runtime}': there is none; known: {', '.join(RUNTIMES)}")


def _files(model: Path, *, shipped: bool) -> str:
    try:
        zoo.about(model)
        stored.read(zoo.stored_check(model))
        if not model.with_suffix(".json").is_file() and not shipped:
            return OK
        card = zoo.card(model)
    except StageError as error:
        return str(error)
    for file in (model, zoo.half(model)):
        if not file.is_file():
            return f"{file.name} is missing"
        if card.sha256.get(file.name) != sha256(file):
            return (
                f"{file.name} is not the file that its card describes; pack the model again, or install cytoloop anew"
            )
    return OK


def _runtimes(model: Path, wanted: Collection[str], failures: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    from models.runtime import available, open_session

    found: dict[str, str] = {}
    said: dict[str, str] = {}
    try:
        inputs, _ = stored.read(zoo.stored_check(model))
    except StageError:
        inputs = {}  # said under files
    shapes = {key: array.shape for key, array in inputs.items()}
    for runtime, missing in available().items():
        if wanted and runtime not in wanted:
            continue
        found[runtime] = missing or "not tried: there are no stored outputs"
        if missing and wanted:
            failures.append(f"{runtime}: asked for, and {missing}")
        if missing or not shapes:
            continue
        try:
            session = open_session(model, shapes, runtime=runtime)
        except CytoloopError as error:
            found[runtime] = str(error)
            failures.append(f"{runtime}: {error}")
            continue
        found[runtime], said[runtime] = OK, f"{session.precision}; {session.reason}"
        session.close()
    return found, said


def _compiled(model: Path, failures: list[str]) -> Mapping[str, str]:
    from models.runtime.tensorrt.check import CAPABILITIES, check_model

    if importlib.util.find_spec("tensorrt_rtx") is None:
        return dict.fromkeys(CAPABILITIES, "not installed: pip install cytoloop[rtx]")
    try:
        found = check_model(model)
    except CytoloopError as error:
        found = dict.fromkeys(CAPABILITIES, str(error))
    failures += [f"tensorrt-rtx for {capability}: {why}" for capability, why in found.items() if why != OK]
    return found
