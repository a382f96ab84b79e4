"""The watch node: a page that cannot be served is a word about the configuration; what it knows before a frame came."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stream.command import Decision
from stream.config import ChainSettings, Configuration, PlanSettings, WatchSettings
from stream.errors import ConfigError, WireError
from stream.nodes import run_here
from stream.supervisor import CONFIG_EXIT
from stream.surroundings import Surroundings
from stream.watch import node
from stream.watch.families import Families
from stream.watch.state import LiveState


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def serve(page: str, run_dir: Path) -> str:
    """Serve a page for a moment and return its address."""
    server, address = node._serve(WatchSettings(page=page), LiveState(), Families(), run_dir, lambda *_: "")
    server.stop()
    return address


def test_a_page_may_have_an_ipv6_address(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert serve("[::1]:0", tmp_path).startswith("http://[::1]:")


def test_a_page_whose_port_is_taken_is_beside_it(tmp_path: Path, taken: int) -> None:
    port = int(serve(f"127.0.0.1:{taken}", tmp_path).rstrip("/").rpartition(":")[2])
    assert port not in (0, taken)


def test_a_page_at_a_host_that_is_not_here_names_its_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[watch\] page = 'nowhere.invalid:8600': no page can be served"):
        serve("nowhere.invalid:8600", tmp_path)


def test_metrics_whose_port_is_taken_name_their_setting_and_end_the_node_for_good(tmp_path: Path, taken: int) -> None:
    said: list[Any] = []
    around = Surroundings(tmp_path, lambda word, detail: said.append((word, detail)), threading.Event(), tmp_path)
    assert run_here("watch", Configuration(watch=WatchSettings(watch_port=taken)), around) == CONFIG_EXIT
    ((word, detail),) = said
    assert (word, f"watch_port = {taken}" in detail) == ("error", True)


class Rig:
    """Answers a decision as a test says, or not at all."""

    def __init__(self, answer: Mapping[str, Any] | Exception) -> None:
        self._answer = answer

    def request(self, decision: Decision, timeout_s: float) -> Mapping[str, Any]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


ANSWERS: dict[str, tuple[Mapping[str, Any] | Exception, str]] = {
    "approved": ({"decided": "approved"}, ""),
    "denied": ({"decided": "denied"}, ""),
    "too late": ({"decided": "no command 'c' waits for approval"}, "no command 'c' waits for approval"),
    "no answer": (WireError("no answer from the rig"), "no answer from the rig"),
}


@pytest.mark.parametrize(("answer", "said"), ANSWERS.values(), ids=ANSWERS)
def test_why_a_decision_did_not_count(answer: Mapping[str, Any] | Exception, said: str) -> None:
    decide: Callable[..., str] = node._decide
    assert decide(Rig(answer), "c", True) == said


PROTOCOL = {"time_plan": [{"interval": 1, "loops": 3}, {"interval": 600, "loops": 3}, {"interval": 2, "loops": 2}]}
PLANS: dict[str, tuple[dict[str, Any], float]] = {
    "a stream": ({"interval_ms": 250.0}, 250.0),
    "one time point": ({"protocol": {"channels": ["GFP"]}}, 100.0),
    "a protocol whose pace changes": ({"protocol": PROTOCOL}, 600_000.0),
}


@pytest.mark.parametrize(("plan", "longest_ms"), PLANS.values(), ids=PLANS)
def test_the_page_knows_how_long_the_plan_leaves_it_without_a_frame(plan: dict[str, Any], longest_ms: float) -> None:
    status = node._state(Configuration(plan=PlanSettings.model_validate(plan))).facts()["status"]
    assert status["longest_interval_ms"] == pytest.approx(longest_ms)


@pytest.mark.parametrize(("z", "projection"), [(0, None), (3, None), ("max", "max")])
def test_the_page_knows_whether_a_projection_is_segmented(z: Any, projection: str | None) -> None:
    status = node._state(Configuration(chain=ChainSettings(z=z))).facts()["status"]
    assert status.get("projection") == projection
