"""Bad input during a whole run: counted on /metrics, named in the log, and the run goes on."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from stream.facts.run_folder import read_configuration
from tests.system.conftest import BackgroundRun

Begin = Callable[..., BackgroundRun]
CASES = Path(__file__).parents[1] / "cases"
FAST = {"exposure_ms": 40.0, "interval_ms": 40.0}


def metrics(run: BackgroundRun, node: str) -> dict[str, float]:
    """Read ``/metrics`` of a node: the sum of each metric by its name and labels."""
    assert run.seen is not None
    with urllib.request.urlopen(f"http://127.0.0.1:{run.seen.ports[node]}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in pairs}


def total(found: dict[str, float], prefix: str) -> float:
    return sum(value for name, value in found.items() if name.startswith(prefix))


def send_rubbish(address: str) -> None:
    """Speak wrongly to a port in every layer: no ZeroMQ at all, no parts, torn headers, another schema."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, 2000)
        dealer.connect(address)
        for parts in (
            [b"?"],
            [b"a", b"b"],
            [b"\xc1\xff", b"\x00" * 40, b""],
            [b"frame/x", b"\x81\xa6schema\xa39.0", b""],
        ):
            dealer.send_multipart(parts)


def test_a_run_says_what_it_does_and_counts_strangers_on_every_port_and_goes_on(begin: Begin) -> None:
    run = begin("democam.toml", {"plan": FAST}, nodes=("acquire", "analyse", "watch"))
    run.wait(lambda: run.decided() > 10)
    _metrics_say_what_runs_and_how_long_stages_take(run)
    wire = read_configuration(run.run_dir).wire
    for address in (wire.frames, wire.control, wire.results):
        send_rubbish(address)
    refused = "cytoloop_messages_refused_total"
    run.wait(lambda: total(metrics(run, "acquire"), refused) >= 6)
    run.wait(lambda: total(metrics(run, "analyse"), refused) >= 3)
    now = run.decided()
    run.wait(lambda: run.decided() > now + 20)
    assert run.end()["lost"] == {}


def test_faulty_policies_lose_their_wish_and_nothing_else(begin: Begin) -> None:
    policies = [f"{CASES / 'talkative.py'}:{name}" for name in ("Raises", "Hangs", "Works")]
    chain = {"divide": f"{CASES / 'talkative.py'}:Announces"}
    patient = {"max_age_ms": 20_000.0}  # on a busy machine the analysis is seconds late
    feedback = {"policies": policies, "budget_ms": 20.0, **patient}
    run = begin("democam.toml", {"plan": FAST, "chain": chain, "feedback": feedback, "limits": patient})
    run.wait(lambda: run.query("rig.sqlite", "SELECT count(*) FROM effects")[0][0] >= 3)
    found = metrics(run, "analyse")
    assert total(found, "cytoloop_policy_dropped_total{") >= 3
    told = {reason for (reason,) in run.query("analysis.sqlite", "SELECT DISTINCT reason FROM dropped")}
    assert {"exception", "overrun", "busy"} <= told
    result = run.end()
    assert set(result["lost"]) <= {"analyse.deadline"}, "a slow machine may drop whole frames, nothing else is lost"
    assert result["frames"] == result["decided"] + sum(result["lost"].values())
    assert result["commands"]["by_division"] >= 3
    assert result["commands"]["failed"] == result["commands"]["unanswered"] == 0


def test_a_stage_that_fails_loses_those_frames_by_name(begin: Begin) -> None:
    run = begin("democam.toml", {"plan": FAST, "chain": {"denoise": f"{CASES / 'talkative.py'}:Trips"}})
    run.wait(lambda: run.decided() > 40)
    assert total(metrics(run, "analyse"), 'cytoloop_stage_errors_total{error="StageError",stage="denoise"') >= 6
    result = run.end()
    assert set(result["lost"]) == {"denoise.stage_error"}
    assert result["lost"]["denoise.stage_error"] == pytest.approx(result["frames"] / 7, abs=2)


def test_a_source_that_ends_ends_the_run(begin: Begin) -> None:
    run = begin("democam.toml", {"plan": {**FAST, "frames": 30}})
    run.wait(lambda: run.report is not None)
    assert run.report is not None
    assert run.report.error == ""
    result = run.end()
    assert (result["frames"], result["decided"], result["lost"]) == (30, 30, {})


def _metrics_say_what_runs_and_how_long_stages_take(run: BackgroundRun) -> None:
    rig, analysis, page = (metrics(run, node) for node in ("acquire", "analyse", "watch"))
    for found, node in ((rig, "acquire"), (analysis, "analyse"), (page, "watch")):
        assert total(found, f'cytoloop_build_info{{node="{node}"') == 1
    assert total(rig, "cytoloop_frames_received_total") > 10
    for stage in ("denoise", "segment", "track", "divide"):
        assert total(analysis, f'cytoloop_stage_seconds_count{{stage="{stage}"') > 10
    assert total(analysis, "cytoloop_end_to_end_seconds_count") > 10
    assert any(name.startswith("cytoloop_queue_depth") for name in analysis)
