"""Every kind of chain on a short virtual movie: what was said stands, and a saved chain goes on as it would have."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import tifffile

from stream.analyse.chain import Chain, Decision
from stream.config import CameraSettings, ChainSettings, Configuration, PlanSettings
from stream.frame import Frame
from stream.simulate import simulate
from stream.stages import Moment

FRAMES = 12
SEEN = {
    # one frame is a quarter of an hour, and cells divide as often as the specimen allows
    "cells": 14, "fields": 1, "size_px": [224, 224], "minutes_per_second": 150.0, "cycle_min": 150.0, "bleach_s": 1e6,
}  # fmt: skip
CHAINS = {
    "classical nuclei": {"segment": "classical-nuclei"},
    "classical phase, starlets": {"segment": "classical-phase", "denoise": "wavelet"},
    "classical by itself, memory": {"segment": "classical", "denoise": "recursive"},
    "network for nuclei": {"segment": "nuclei-fast"},
    "network for phase": {"segment": "phase-fast"},
    "network by itself": {"segment": "auto"},
    "cells at the edge, never cut": {"segment": "nuclei-fast", "track_options": {"edge": 0.0, "max_cut": 0}},
}


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> list[Moment]:
    folder = tmp_path_factory.mktemp("causal")
    camera = CameraSettings(driver="virtual", options=SEEN)
    told = simulate(Configuration(camera=camera, plan=PlanSettings(interval_ms=100.0)), folder, FRAMES, 5)
    assert told["divisions"] > 2
    return [shown(number, tifffile.imread(path)) for number, path in enumerate(sorted((folder / "01").glob("*.tif")))]


def shown(number: int, pixels: np.ndarray[Any, Any]) -> Moment:
    frame = Frame("r", "c", "s", 0, number, "c:p0", number, pixels)
    return Moment(frame, {"nuclei": pixels}, elapsed_s=float(number))


def chain_of(name: str) -> Chain:
    return Chain(ChainSettings(**CHAINS[name]))


def print_of(decision: Decision) -> str:
    """Return a hash of all that was said about a frame."""
    digest = hashlib.sha256(decision.segmentation.labels.tobytes())
    for table in (decision.segmentation.cells, decision.tracks):
        for column in fields(table):
            digest.update(np.ascontiguousarray(getattr(table, column.name)).tobytes())
    digest.update("".join(event.as_line() for event in decision.events).encode())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def whole(movie: list[Moment]) -> dict[str, tuple[list[Decision], list[str]]]:
    """What each chain says of the whole movie, and what it had said when it said it."""
    said: dict[str, tuple[list[Decision], list[str]]] = {}
    for name in CHAINS:
        chain, decisions, prints = chain_of(name), [], []
        for moment in movie:
            decisions.append(chain.step(moment))
            prints.append(print_of(decisions[-1]))
        said[name] = decisions, prints
    return said


def test_the_movie_is_worth_it(whole: dict[str, tuple[list[Decision], list[str]]]) -> None:
    for name in ("classical nuclei", "network for nuclei"):
        decisions, _ = whole[name]
        assert min(len(one.segmentation.cells) for one in decisions) >= 5
        assert sum(event.kind == "division" for one in decisions for event in one.events) >= 1, name


@pytest.mark.parametrize("name", CHAINS)
def test_what_was_said_of_a_frame_is_not_changed_later(
    name: str, whole: dict[str, tuple[list[Decision], list[str]]]
) -> None:
    decisions, prints = whole[name]
    assert [print_of(one) for one in decisions] == prints


@pytest.mark.parametrize("last", [0, 4, 8])
@pytest.mark.parametrize("name", CHAINS)
def test_another_future_changes_nothing_before_it(
    name: str, last: int, movie: list[Moment], whole: dict[str, tuple[list[Decision], list[str]]]
) -> None:
    rng = np.random.default_rng(last)
    chain, said = chain_of(name), []
    for number in range(last + 3):
        real = movie[number]
        other = shown(number, rng.permutation(real.frame.pixels.ravel()).reshape(real.frame.pixels.shape))
        said.append(chain.step(real if number <= last else other))
    prints = [print_of(one) for one in said]
    assert prints[: last + 1] == whole[name][1][: last + 1]
    assert prints[last + 1 :] != whole[name][1][last + 1 : last + 3]


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_that_is_saved_and_loaded_after_every_frame_says_the_same(
    name: str, movie: list[Moment], whole: dict[str, tuple[list[Decision], list[str]]]
) -> None:
    chain, prints, last = chain_of(name), [], None
    for moment in movie:
        prints.append(print_of(chain.step(moment)))
        state = chain.save()
        last, chain = chain, chain_of(name)
        chain.load(state)
        assert chain.save() == state
    assert prints == whole[name][1]
    assert last is not None
    assert [event.as_line() for event in chain.finish()] == [event.as_line() for event in last.finish()]
