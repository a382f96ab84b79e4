"""The server: who may read it, one encode for all, and only what was acknowledged is followed by more."""

from __future__ import annotations

import json
import logging
import queue
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from stream.facts.rig import RigFacts
from stream.frame import Frame
from stream.watch import viewer as viewer_module
from stream.watch.doors import is_private, known_host
from stream.watch.server import Server
from stream.watch.state import LiveState

FIELD = "Camera:p0"


def feed(live: LiveState, number: int, field: str = FIELD) -> None:
    pixels = np.full((32, 32), number + 1, np.uint16)
    live.frame(Frame("run", "Camera", "s", 1, number, field, number, pixels))
    live.labels(field, number, np.zeros((32, 32), np.int32))


@pytest.fixture
def live() -> LiveState:
    return LiveState("tonight")


@pytest.fixture
def port(live: LiveState) -> Iterator[int]:
    server = Server(live, port=0, max_fps=1000)
    yield server.start()
    server.stop()
    server.stop()


def viewer(port: int, **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}/ws", proxy=None, compression=None, **options)


def picture(link: ClientConnection) -> dict[str, Any]:
    while True:
        message = link.recv(10)
        if isinstance(message, bytes):
            (length,) = struct.unpack_from("<I", message)
            return dict(json.loads(message[4 : 4 + length]))


def facts(link: ClientConnection) -> dict[str, Any]:
    while True:
        message = link.recv(10)
        if isinstance(message, str):
            return dict(json.loads(message))


def decided(link: ClientConnection) -> dict[str, Any]:
    while "decided" not in (said := facts(link)):
        pass
    return said


def until_closed(link: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        while True:
            link.recv(10)


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/health", "/api/summary", "/metrics"])
def test_paths_answer_with_security_headers(port: int, path: str) -> None:
    answer = httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_scripts_have_a_type_that_browsers_run(port: int) -> None:
    answer = httpx.get(f"http://127.0.0.1:{port}/page.js", trust_env=False)
    assert answer.headers["content-type"].startswith("text/javascript")


def test_health_and_summary_are_strict_json(port: int, live: LiveState) -> None:
    feed(live, 1)
    live.status({"rig": "running", "light_power": float("nan")})
    health = httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).json()
    assert (health["ok"], health["run"], health["rig"]) == (True, "tonight", "running")
    text = httpx.get(f"http://127.0.0.1:{port}/api/summary", trust_env=False).text
    assert "NaN" not in text
    assert json.loads(text)["status"]["light_power"] is None


def test_unknown_event_picture_is_404(port: int) -> None:
    assert httpx.get(f"http://127.0.0.1:{port}/thumb/3.jpg", trust_env=False).status_code == 404


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8600", True),
        ("localhost:8600", True),
        ("[::1]:8600", True),
        ("192.168.1.7", True),
        ("rig.lab:8600", True),
        ("evil.example:8600", False),
        ("", False),
    ],
)
def test_only_this_machines_names_are_served(host: str, known: bool) -> None:
    assert known_host(host, frozenset({"rig.lab"})) is known


HOSTS = {
    "127.0.0.1": True,
    "127.0.1.1": True,
    "[::1]": True,
    "localhost": True,
    "0.0.0.0": False,
    "": False,
    "rig.lab": False,
}


@pytest.mark.parametrize("host", HOSTS)
def test_only_a_page_of_this_machine_may_decide(host: str) -> None:
    assert is_private(host) is HOSTS[host]


def test_rebound_name_is_refused(port: int) -> None:
    answer = httpx.get(f"http://127.0.0.1:{port}/api/summary", headers={"Host": "evil.example"}, trust_env=False)
    assert answer.status_code == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_foreign_page_cannot_open_the_socket(port: int, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        viewer(port, origin=origin)
    assert refused.value.response.status_code == 403


def test_own_page_may(port: int) -> None:
    with viewer(port, origin=f"http://127.0.0.1:{port}") as link:
        assert facts(link)["run"] == "tonight"


def test_next_picture_waits_for_the_acknowledgement_and_is_the_newest(port: int, live: LiveState) -> None:
    feed(live, 1)
    with viewer(port) as link:
        assert picture(link)["frame"] == 1
        for number in (2, 3, 4):
            feed(live, number)
        live.status({"rig": "running"})
        while facts(link)["status"].get("rig") != "running":
            pass
        link.send(json.dumps({"ack": 1}))
        assert picture(link)["frame"] == 4


def test_viewers_share_one_encode(port: int, live: LiveState) -> None:
    feed(live, 1)
    with viewer(port) as one, viewer(port) as two:
        assert picture(one)["serial"] == picture(two)["serial"] == 1
        for link in (one, two):
            link.send(json.dumps({"ack": 1}))
        feed(live, 2)
        assert picture(one) == picture(two)


def test_a_viewer_chooses_its_field(port: int, live: LiveState) -> None:
    feed(live, 1)
    feed(live, 9, field="Camera:p1")
    with viewer(port) as link:
        assert picture(link)["field"] == FIELD
        link.send(json.dumps({"ack": 1, "field": "Camera:p1"}))
        assert picture(link)["field"] == "Camera:p1"


def test_a_viewer_chooses_denoised_pixels_and_another_stays_with_raw_ones(port: int, live: LiveState) -> None:
    live.denoised(FIELD, 1, np.full((32, 32), 9, np.uint16))
    feed(live, 1)
    with viewer(port) as link, viewer(port) as other:
        assert picture(link)["denoised"] is picture(other)["denoised"] is False
        link.send(json.dumps({"ack": 1, "denoised": True}))
        assert picture(link)["denoised"] is True
        link.send(json.dumps({"ack": 1, "denoised": False}))
        assert picture(link)["denoised"] is False


def test_who_comes_back_to_a_picture_that_nobody_saw_for_long_sees_the_newest(
    port: int, live: LiveState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer_module, "QUIET_S", 0.0)
    feed(live, 1)
    with viewer(port) as link:
        assert picture(link)["frame"] == 1
    feed(live, 2)
    with viewer(port) as link:
        assert picture(link)["frame"] == 2


def test_facts_bring_only_changed_rows(port: int, live: LiveState) -> None:
    live.ack({"command_id": "a", "state": "applied"})
    with viewer(port) as link:
        assert [row["command_id"] for row in facts(link)["commands"]] == ["a"]
        live.ack({"command_id": "b", "state": "refused"})
        while not (rows := facts(link)["commands"]):
            pass
        assert [row["command_id"] for row in rows] == ["b"]


@pytest.mark.parametrize("nonsense", ["not json", "[1]", "x" * 5000, "[" * 3000])
def test_nonsense_ends_that_viewer_only(
    port: int, live: LiveState, nonsense: str, caplog: pytest.LogCaptureFixture
) -> None:
    with viewer(port) as good, viewer(port) as bad:
        bad.send(nonsense)
        until_closed(bad)
        loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert not loud, "it is no fault of ours"
        live.status({"rig": "paused"})
        while facts(good)["status"].get("rig") != "paused":
            pass


def test_a_word_on_a_command_reaches_the_rig(live: LiveState) -> None:
    heard: queue.Queue[tuple[str, bool]] = queue.Queue()

    def decide(command_id: str, approve: bool) -> str:
        heard.put((command_id, approve))
        return "" if command_id == "c1" else "no answer"

    server = Server(live, port=0, decide=decide)
    with viewer(server.start()) as link:
        for said in ({"decide": "c1"}, {"decide": 7, "approve": True}, {"decide": "c1", "approve": False}):
            link.send(json.dumps(said))
        assert heard.get(timeout=10) == ("c1", False), "only a whole word counts"
        assert heard.empty()
        assert decided(link) == {"decided": "c1", "refused": ""}
        link.send(json.dumps({"decide": "c2", "approve": True}))
        assert decided(link) == {"decided": "c2", "refused": "no answer"}
    server.stop()


def test_a_page_that_the_network_sees_decides_nothing(port: int, live: LiveState) -> None:
    with viewer(port) as link:
        link.send(json.dumps({"decide": "c1", "approve": True}))
        live.status({"rig": "paused"})
        while facts(link)["status"].get("rig") != "paused":
            pass


def test_stop_closes_viewers_and_frees_the_port(live: LiveState) -> None:
    server = Server(live, port=0)
    port = server.start()
    with viewer(port) as link:
        facts(link)
        server.stop()
        until_closed(link)
    again = Server(live, port=port)
    assert again.start() == port
    again.stop()


def test_why_answers_from_the_runs_facts(live: LiveState, tmp_path: Path) -> None:
    rig = RigFacts(tmp_path)
    rig.frame(Frame("run", "Camera", "s", 1, 0, FIELD, 0, np.zeros((4, 4), np.uint16), exposure_ms=7.0))
    rig.flush()
    server = Server(live, port=0, run_dir=tmp_path)
    where = f"http://127.0.0.1:{server.start()}/api/why"
    try:
        found = httpx.get(where, params={"frame": f"{FIELD}:0"}).json()
        missing = httpx.get(where, params={"frame": f"{FIELD}:5"})
    finally:
        server.stop()
        rig.close()
    assert found["settings"]["exposure_ms"] == {"value": 7.0, "command_id": None}
    assert (missing.status_code, "took no frame" in missing.text) == (404, True)
