"""Whether the networks that ``[chain]`` names can be run here."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points

from stream.config import ChainSettings

_MODULES = frozenset({"models.segment.network", "models.segment.auto", "models.denoise.network"})
"""Where the stages are that run a network; their options name its ``runtime``."""


def problems(chain: ChainSettings) -> Iterator[str]:
    """Yield the stages that need a network, or a runtime, that cannot be had here."""
    for stage, runtime in _stages(chain):
        if (why := _unavailable(runtime)) and not _does_without(stage, runtime):
            yield f"[chain] {stage}: {why}"


def warnings(chain: ChainSettings) -> Iterator[str]:
    """Yield the stages that would run a network and do without one here."""
    for stage, runtime in _stages(chain):
        if (why := _unavailable(runtime)) and _does_without(stage, runtime):
            yield f"[chain] {stage}: cells are found without a network, and less well: {why}"


def _stages(chain: ChainSettings) -> Iterator[tuple[str, str]]:
    """Yield each stage that runs a network, as the configuration writes it, and the runtime that it asks for."""
    if _runs_network("cytoloop.segmenters", chain.segment):
        yield f"segment = '{chain.segment}'", str(chain.segment_options.get("runtime", "auto"))
    if _runs_network("cytoloop.denoisers", chain.denoise):
        yield f"denoise = '{chain.denoise}'", str(chain.denoise_options.get("runtime", "auto"))


def _runs_network(group: str, name: str) -> bool:
    return any(point.name == name and point.module in _MODULES for point in entry_points(group=group))


def _does_without(stage: str, runtime: str) -> bool:
    return stage == "segment = 'auto'" and runtime == "auto"


def _unavailable(runtime: str) -> str:
    """Return why a runtime cannot be used here, "" where it can; ``auto`` is any of them."""
    from models.runtime import available

    reasons = available()
    if runtime == "auto":
        return "nothing here runs networks; pip install 'cytoloop[cpu]'" if all(reasons.values()) else ""
    if runtime not in reasons:
        return f"no runtime is called '{runtime}'; known: auto, {', '.join(reasons)}"
    return reasons[runtime] and f"runtime '{runtime}' cannot be used here: {reasons[runtime]}"
