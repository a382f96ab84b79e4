"""The pipeline on real stages: two fields and two channels through one chain, each with a state of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from models.denoise.recursive import RecursiveDenoiser
from models.denoise.wavelet import WaveletDenoiser
from models.segment.classical import NucleiSegmenter
from stream.analyse.chain import Chain, Decision, NoDenoiser
from stream.analyse.gather import Gather
from stream.analyse.pipeline import Drained, Failed, Pipeline
from stream.clock import FakeClock
from stream.config import ChainSettings
from stream.errors import ConfigError, StageError
from stream.frame import Frame, Index, Stamps
from stream.metrics import FRAMES_LOST
from stream.stages import Moment

SETTINGS = ChainSettings(segment="classical-nuclei", segment_channel="dna", measure_channels=("dna", "actin"))
STARTS = {
    "c:p0": np.array([[40.0, 40], [40, 110], [110, 60]]),
    "c:p1": np.array([[60.0, 50], [100, 100], [40, 130], [130, 40]]),
}


def frames(count: int = 6) -> Iterator[Frame]:
    """Two positions and two channels; nuclei drift by a pixel a frame, each position its own way."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[:160, :160]
    seq = 0
    for t in range(count):
        for p, (field, starts) in enumerate(STARTS.items()):
            places = starts + t * (1 if p else -1)
            blobs = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / 2 / 7.0**2) for a, b in places)
            for c, (channel, gain) in enumerate((("dna", 800.0), ("actin", 100.0))):
                pixels = random.poisson(100 + gain * np.asarray(blobs)).astype(np.uint16)
                stamps = Stamps(t_pop_ns=t * 10**8)
                index = Index(t=t, p=p, c=c)
                yield Frame("r", "c", "s", 0, seq, field, t, pixels, index=index, channel=channel, stamps=stamps)
                seq += 1


def run(pipeline: Pipeline, gather: Gather) -> list[Decision | Failed]:
    """Feed all frames and take all results."""
    results: list[Decision | Failed] = []
    for frame in frames():
        for moment in gather.add(frame):
            pipeline.submit(moment)
    pipeline.drain()
    while not isinstance(output := pipeline.next(30), Drained):
        assert output is not None
        results.append(output)
    return results


@pytest.fixture(scope="module")
def decisions() -> list[Decision]:
    results = run(Pipeline(SETTINGS), Gather(SETTINGS))
    assert not [result for result in results if isinstance(result, Failed)]
    return [result for result in results if isinstance(result, Decision)]


def test_every_moment_is_decided_in_order(decisions: list[Decision]) -> None:
    order = [(d.moment.frame.frame, d.moment.frame.field) for d in decisions]
    assert order == [(t, field) for t in range(6) for field in STARTS]


def test_fields_keep_their_own_cells_and_ids(decisions: list[Decision]) -> None:
    for field, starts in STARTS.items():
        mine = [d for d in decisions if d.moment.frame.field == field]
        assert [len(d.segmentation.cells) for d in mine] == [len(starts)] * 6
        ids = {tuple(d.segmentation.cells.label.tolist()) for d in mine}
        assert ids == {tuple(range(1, len(starts) + 1))}, "tracks of a field go on, and count from 1 in each"


def test_both_channels_are_measured(decisions: list[Decision]) -> None:
    means = decisions[-1].segmentation.cells.mean_counts
    assert means.shape == (4, 2)
    assert (means[:, 0] > 2 * means[:, 1]).all()
    assert (means[:, 1] > 100).all()


def test_every_stage_is_stamped_in_order(decisions: list[Decision]) -> None:
    for decision in decisions:
        stages = decision.moment.frame.stamps.stages
        assert [name for name, _, _ in stages] == ["denoise", "segment", "track", "divide"]
        times = [t for _, begin, end in stages for t in (begin, end)]
        assert times == sorted(times)


def test_the_pipeline_decides_what_the_chain_alone_decides(decisions: list[Decision]) -> None:
    gather, chains = Gather(SETTINGS), {field: Chain(SETTINGS) for field in STARTS}
    alone = [chains[m.frame.field].step(m) for frame in frames() for m in gather.add(frame)]
    for one, other in zip(decisions, alone, strict=True):
        assert np.array_equal(one.segmentation.labels, other.segmentation.labels)
        assert np.array_equal(one.tracks.track_id, other.tracks.track_id)


def test_a_saved_chain_goes_on_as_if_nothing_had_happened() -> None:
    gather = Gather(SETTINGS)
    moments = [m for frame in frames() for m in gather.add(frame) if m.frame.field == "c:p0"]
    straight, before, after = Chain(SETTINGS), Chain(SETTINGS), Chain(SETTINGS)
    for moment in moments[:3]:
        straight.step(moment)
        before.step(moment)
    after.load(before.save())
    for moment in moments[3:]:
        one, other = straight.step(moment), after.step(moment)
        assert np.array_equal(one.segmentation.labels, other.segmentation.labels)
        assert [e.as_line() for e in one.events] == [e.as_line() for e in other.events]


def test_a_torn_state_is_refused() -> None:
    chain = Chain(SETTINGS)
    with pytest.raises(StageError, match="torn"):
        chain.load(chain.save()[:-1])


def test_moments_beyond_the_deadline_are_dropped_and_counted() -> None:
    clock = FakeClock()
    settings = SETTINGS.model_copy(update={"deadline_ms": 150.0})
    pipeline, gather = Pipeline(settings, clock=clock), Gather(settings)
    before = FRAMES_LOST.labels("analyse", "deadline")._value.get()
    clock.advance_ms(500)
    told = [pipeline.submit(moment) for frame in frames() for moment in gather.add(frame)]
    pipeline.drain()
    # frames are 100 ms apart; the last two time points are young enough
    assert [dropped and dropped.reason for dropped in told] == ["deadline"] * 8 + [None] * 4
    assert FRAMES_LOST.labels("analyse", "deadline")._value.get() == before + 8
    while not isinstance(pipeline.next(30), Drained):
        pass


class Segments(NucleiSegmenter):
    """Somebody's segmenter, which says nothing of what it looks at."""


DENOISED = {
    "a classical one looks at denoised pixels": ({"segment": "classical-phase"}, RecursiveDenoiser),
    "somebody's may": ({"segment": f"{__file__}:Segments"}, RecursiveDenoiser),
    "a network looks at raw ones": ({"segment": "nuclei-fast"}, NoDenoiser),
    "unless it is told to": ({"segment": "nuclei", "segment_options": {"look": "denoised"}}, RecursiveDenoiser),
    "so does the choosing one": ({"segment": "auto"}, NoDenoiser),
    "none is none": ({"segment": "classical", "denoise": "none"}, NoDenoiser),
    "what is named is made": ({"segment": "nuclei", "denoise": "wavelet"}, WaveletDenoiser),
}


@pytest.mark.parametrize(("chain", "denoiser"), DENOISED.values(), ids=DENOISED)
def test_pixels_are_denoised_for_who_looks_at_them(chain: dict[str, object], denoiser: type) -> None:
    assert type(Chain(ChainSettings.model_validate(chain)).denoiser) is denoiser


class Shrinks:
    """A denoiser that loses a row."""

    def __init__(self, options: object) -> None: ...

    def step(self, moment: Moment) -> Moment:
        return replace(moment, denoised=moment.frame.pixels[1:].astype(np.float32))


def test_denoised_pixels_of_another_shape_are_the_denoisers_fault() -> None:
    chain = Chain(SETTINGS.model_copy(update={"denoise": f"{__file__}:Shrinks"}))
    with pytest.raises(StageError, match=r"the denoiser returned pixels of \(159, 160\) for a frame of \(160, 160\)"):
        chain.step(Moment(next(frames())))


def test_an_unknown_stage_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no segmenter is called 'clasical'; did you mean 'classical'"):
        Chain(ChainSettings(segment="clasical"))
