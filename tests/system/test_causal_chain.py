"""Every kind of chain on a short virtual movie: what was said stands, and a saved chain goes on as it would have."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest
import tifffile

from models import zoo
from stream.analyse.chain import Chain, Decision
from stream.config import CameraSettings, ChainSettings, Configuration, PlanSettings
from stream.frame import Frame
from stream.simulate import simulate
from stream.stages import Moment

FRAMES = 12
CUTS = (0, 4, 8)
SPECIMEN = {"cells": 14, "fields": 1, "size_px": [224, 224], "bleach_s": 1e6}
MOVIES: Mapping[str, tuple[dict[str, Any], int]] = {
    # what the virtual microscope shows, and its seed; one frame is some ten minutes, and cells divide often
    "nuclei": ({**SPECIMEN, "minutes_per_second": 150.0, "cycle_min": 150.0}, 5),
    "phase": ({**SPECIMEN, "minutes_per_second": 100.0, "cycle_min": 200.0, "modality": "phase"}, 3),
}
DENOISED = {"denoise": "network", "segment_options": {"look": "denoised"}}
CHAINS: Mapping[str, tuple[str, dict[str, Any]]] = {
    # the movie, and the chain
    "classical nuclei": ("nuclei", {"segment": "classical-nuclei"}),
    "classical phase, starlets": ("phase", {"segment": "classical-phase", "denoise": "wavelet"}),
    "classical by itself, memory": ("nuclei", {"segment": "classical", "denoise": "recursive"}),
    "network for nuclei": ("nuclei", {"segment": "nuclei"}),
    "network for nuclei, fast": ("nuclei", {"segment": "nuclei-fast"}),
    "network for nuclei, open": ("nuclei", {"segment": "nuclei-open"}),
    "network for nuclei, denoised by another": ("nuclei", {"segment": "nuclei-fast", **DENOISED}),
    "network for phase": ("phase", {"segment": "phase"}),
    "network for phase, fast": ("phase", {"segment": "phase-fast"}),
    "network by itself, nuclei": ("nuclei", {"segment": "auto"}),
    "network by itself, phase": ("phase", {"segment": "auto"}),
    "cells at the edge, never cut": ("nuclei", {"segment": "nuclei-fast", "track_options": {"edge": 0, "max_cut": 0}}),
}
RUNS = {"network by itself, nuclei": "nuclei,", "network by itself, phase": "phase,"}
"""What a chain that chooses must choose, so that the movie is seen by what it is for."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a chain says of its whole movie, and the hash of each decision when it was made."""

    name: str
    movie: Sequence[Moment]
    decisions: Sequence[Decision]
    prints: Sequence[str]
    end: Sequence[str]
    choice: str
    chain: Chain
    """Holds its networks, so that the chains that are made to be held against it need not compile them again."""


def shown(number: int, pixels: np.ndarray[Any, Any]) -> Moment:
    frame = Frame("r", "c", "s", 0, number, "c:p0", number, pixels)
    return Moment(frame, {"nuclei": pixels}, elapsed_s=float(number))


def chain_of(name: str) -> Chain:
    return Chain(ChainSettings(**CHAINS[name][1]))


def print_of(decision: Decision) -> str:
    """Return a hash of all that was said about a frame."""
    digest = hashlib.sha256(decision.segmentation.labels.tobytes())
    if decision.moment.denoised is not None:
        digest.update(decision.moment.denoised.tobytes())
    for table in (decision.segmentation.cells, decision.tracks):
        for column in fields(table):
            digest.update(np.ascontiguousarray(getattr(table, column.name)).tobytes())
    digest.update("".join(event.as_line() for event in decision.events).encode())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def movies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Moment]]:
    made = {}
    for name, (options, seed) in MOVIES.items():
        folder = tmp_path_factory.mktemp(name)
        camera = CameraSettings(driver="virtual", options=options)
        told = simulate(Configuration(camera=camera, plan=PlanSettings(interval_ms=100.0)), folder, FRAMES, seed)
        assert told["divisions"] > 2
        paths = sorted((folder / "01").glob("*.tif"))
        made[name] = [shown(number, tifffile.imread(path)) for number, path in enumerate(paths)]
    return made


@pytest.fixture(scope="module", params=CHAINS)
def said(request: pytest.FixtureRequest, movies: dict[str, list[Moment]]) -> Said:
    """Run a chain once for all the tests that look at it."""
    name = request.param
    movie, chain, decisions, prints = movies[CHAINS[name][0]], chain_of(name), [], []
    for moment in movie:
        decisions.append(chain.step(moment))
        prints.append(print_of(decisions[-1]))
    choice = chain.choice
    end = [event.as_line() for event in chain.finish()]
    return Said(name, movie, decisions, prints, end, choice, chain)


def test_every_network_is_run() -> None:
    segmenters, denoisers = ({chain.get(stage) for _, chain in CHAINS.values()} for stage in ("segment", "denoise"))
    assert set(zoo.names(zoo.CELLS)) <= segmenters
    assert "network" in denoisers


def test_the_chain_has_something_to_say(said: Said) -> None:
    assert said.choice.startswith(RUNS.get(said.name, ""))
    assert all(len(one.segmentation.cells) and len(one.tracks) for one in said.decisions)
    assert np.mean([len(one.segmentation.cells) for one in said.decisions]) >= 3
    assert any(event.kind == "division" for one in said.decisions for event in one.events)


def test_a_network_that_looks_at_denoised_pixels_sees_others(movies: dict[str, list[Moment]]) -> None:
    raw, denoised = (
        chain_of(name).step(movies["nuclei"][0]).segmentation
        for name in ("network for nuclei, fast", "network for nuclei, denoised by another")
    )
    assert not np.array_equal(raw.labels, denoised.labels)


def test_what_was_said_of_a_frame_is_not_changed_later(said: Said) -> None:
    assert [print_of(one) for one in said.decisions] == said.prints


@pytest.mark.parametrize("last", CUTS)
def test_another_future_changes_nothing_before_it(last: int, said: Said) -> None:
    rng = np.random.default_rng(last)
    chain, decisions = chain_of(said.name), []
    for number in range(last + 3):
        real = said.movie[number]
        other = shown(number, rng.permutation(real.frame.pixels.ravel()).reshape(real.frame.pixels.shape))
        decisions.append(chain.step(real if number <= last else other))
    prints = [print_of(one) for one in decisions]
    assert prints[: last + 1] == said.prints[: last + 1]
    assert prints[last + 1 :] != said.prints[last + 1 : last + 3]


def test_a_chain_that_is_saved_and_loaded_after_every_frame_says_the_same(said: Said) -> None:
    chain, prints = chain_of(said.name), []
    for moment in said.movie:
        prints.append(print_of(chain.step(moment)))
        state = chain.save()
        chain = chain_of(said.name)
        chain.load(state)
        assert chain.save() == state
    assert prints == said.prints
    assert [event.as_line() for event in chain.finish()] == said.end
