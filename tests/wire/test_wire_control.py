"""Commands and acks over real sockets: every kind of request, errors, idempotence, threads."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from stream.command import Ack, AckState, Command, Decision, SetExposure, Stimulate, Stop
from stream.errors import WireError
from stream.frame import FrameRef
from stream.metrics import REGISTRY
from stream.wire.control import ControlClient, ControlServer, Query, Ready, Request
from stream.wire.header import SCHEMA, pack, unpack
from stream.wire.link import note
from stream.wire.messages import Alive
from stream.wire.requests import read_request

WAIT_S = 20
REF = FrameRef("r", "cam", "s", 0, 5, "cam:p0", 5)


def command(command_id: str = "c1") -> Command:
    return Command(command_id=command_id, action=SetExposure(exposure_ms=5), issued_wall_ns=1)


@pytest.fixture
def server() -> Iterator[ControlServer]:
    with ControlServer("tcp://127.0.0.1:0") as made:
        yield made


@pytest.fixture
def client(server: ControlServer) -> Iterator[ControlClient]:
    with ControlClient(server.address, name="analyse") as made:
        yield made


def following(server: ControlServer) -> Request:
    request = server.next(WAIT_S)
    assert request is not None
    return request


def is_ready(request: Request) -> bool:
    """Whether a node says that it is ready, and which instance of it speaks."""
    return isinstance(request.content, Ready) and request.content.node == "analyse" and bool(request.content.instance)


def test_a_node_that_is_started_again_is_another_instance(server: ControlServer) -> None:
    heard = []
    for _ in range(2):
        with ControlClient(server.address, name="analyse") as client:
            client.ready()
            heard.append(following(server).content)
    assert heard[0] != heard[1]


def test_a_node_of_the_schema_before_names_no_instance() -> None:
    said = {"schema": "1.0", "kind": "ready", "name": "analyse", "id": "", "node": "analyse"}
    assert read_request(b"", [b"!", pack(said)]).content == Ready("analyse", "")


def test_each_kind_of_request_arrives(server: ControlServer, client: ControlClient) -> None:
    client.ready()
    assert is_ready(following(server))
    client.alive(REF, 3)
    assert following(server).content == Alive("analyse", REF, 3)
    client.alive(None, 0)
    assert following(server).content == Alive("analyse", None, 0)
    asked = threading.Thread(target=lambda: client.request(Decision(command_id="c1", approve=False, by="Ada"), WAIT_S))
    asked.start()
    got = following(server)
    assert got.content == Decision(command_id="c1", approve=False, by="Ada")
    server.reply(got, {"decided": "denied"})
    asked.join(WAIT_S)
    client.submit(command())
    got = following(server)
    assert (got.name, got.request_id, got.content) == ("analyse", "c1", command())


def test_a_command_is_acknowledged_step_by_step(server: ControlServer, client: ControlClient) -> None:
    client.submit(command())
    request = following(server)
    sent = [
        Ack(command_id="c1", state=AckState.RECEIVED),
        Ack(command_id="c1", state=AckState.APPLIED, readback={"exposure_ms": 5.0}, first_frame=REF),
    ]
    for ack in sent:
        server.reply(request, ack)
    assert [client.next_ack(WAIT_S), client.next_ack(WAIT_S)] == sent
    assert client.next_ack(0) is None


def test_a_request_waits_for_the_final_ack_only(server: ControlServer, client: ControlClient) -> None:
    def answer() -> None:
        request = following(server)
        for state in (AckState.RECEIVED, AckState.ACCEPTED, AckState.REFUSED):
            server.reply(request, Ack(command_id="c2", state=state, reason=state.value))
        server.reply(following(server), {"frames": 3})

    rig = threading.Thread(target=answer)
    rig.start()
    final = client.request(command("c2"), WAIT_S)
    assert isinstance(final, Ack)
    assert final.state is AckState.REFUSED
    assert client.request(Query("status", {"of": "run"}), WAIT_S) == {"frames": 3}
    rig.join(WAIT_S)
    assert client.next_ack(0) is None


def test_a_map_is_a_query(server: ControlServer, client: ControlClient) -> None:
    asked = threading.Thread(target=lambda: client.request({"kind": "deny", "command_id": "c9"}, WAIT_S))
    asked.start()
    request = following(server)
    assert request.content == Query("deny", {"kind": "deny", "command_id": "c9"})
    server.reply(request, {})
    asked.join(WAIT_S)


def test_a_rig_that_is_not_there_is_named() -> None:
    with (
        ControlClient("tcp://127.0.0.1:9", name="cli") as client,
        pytest.raises(WireError, match=r"no answer from tcp://127\.0\.0\.1:9 within 0\.05 s: is the rig running"),
    ):
        client.request({"kind": "status"}, 0.05)


def test_a_rig_that_comes_back_hears_ready_and_every_unanswered_command(
    client: ControlClient, server: ControlServer
) -> None:
    client.ready()
    for command_id in ("old", "open"):
        client.submit(command(command_id))
    first, *both = [following(server) for _ in range(3)]
    assert is_ready(first)
    server.reply(both[0], Ack(command_id="old", state=AckState.APPLIED))
    assert client.next_ack(WAIT_S) is not None
    server.close()
    with ControlServer(server.address) as again:
        contents = [following(again).content for _ in range(2)]
    assert contents == [first.content, command("open")], "the same instance as before"


def test_a_command_too_large_is_refused_where_it_is_made(client: ControlClient) -> None:
    mask = (tuple((y, x) for y in range(300) for x in range(300)),)
    large = Command(command_id="big", action=Stimulate(mask_yx_px=mask, duration_ms=1), issued_wall_ns=1)
    with pytest.raises(WireError, match="command big takes"):
        client.submit(large)


UNREADABLE = {
    "a corner that is no number": {"grid_plan": {"vertices": [["nan", 0], [1, 0], [1, 1]], **{
        f"fov_{side}": 1 for side in ("width", "height")}}},
    "an interval of a trillion days": {"time_plan": {"interval": {"days": 10**12}, "loops": 2}},
}  # fmt: skip


@pytest.mark.parametrize("sequence", UNREADABLE.values(), ids=UNREADABLE)
def test_a_command_that_cannot_be_laid_out_is_answered(server: ControlServer, sequence: dict[str, Any]) -> None:
    said = {"command_id": "x", "action": {"kind": "acquire", "sequence": sequence}, "issued_wall_ns": 1}
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    peer = context.socket(zmq.DEALER)
    peer.connect(server.address)
    peer.send_multipart(note("command", {"name": "cli", "id": "x", "command": json.dumps(said)}))
    assert peer.poll(WAIT_S * 1000), "no answer"
    answer = unpack(peer.recv_multipart()[1])
    assert (answer["kind"], answer["id"]) == ("error", "x")
    assert answer["reason"].startswith("not a command: ")
    context.destroy(linger=0)


def test_many_threads_submit_and_one_reads(server: ControlServer, client: ControlClient) -> None:
    def rig() -> None:
        for _ in range(80):
            request = following(server)
            server.reply(request, Ack(command_id=request.request_id, state=AckState.APPLIED))

    def submit(name: str) -> None:
        for i in range(20):
            client.submit(command(f"{name}{i}"))

    threads = [threading.Thread(target=rig), *(threading.Thread(target=submit, args=(name,)) for name in "abcd")]
    for thread in threads:
        thread.start()
    acked = {ack.command_id for ack in (client.next_ack(WAIT_S) for _ in range(80)) if ack is not None}
    for thread in threads:
        thread.join(WAIT_S)
    assert acked == {f"{name}{i}" for name in "abcd" for i in range(20)}


def good(**changed: object) -> list[bytes]:
    return note("command", {"name": "x", "id": "7", "command": command().model_dump_json()} | changed)


BAD: dict[str, tuple[list[bytes], str, str]] = {
    "one part": ([b"stop"], "malformed", "parts"),
    "foreign": ([b"GET /", b"Host: rig"], "malformed", "parts"),
    "torn": ([b"!", good()[1][:-9]], "malformed", "msgpack"),
    "another major": ([b"!", pack({"schema": "4.2", "kind": "ready", "id": "7"})], "schema", "4.2"),
    "unknown kind": (note("dance", {"name": "x", "id": "7"}), "malformed", "dance"),
    "no name": ([b"!", pack({"schema": SCHEMA, "kind": "ready", "id": "7"})], "malformed", "name"),
    "no JSON": (good(command="{"), "malformed", "not a command"),
    "unknown action": (
        good(command='{"command_id":"a","issued_wall_ns":1,"action":{"kind":"x"}}'),
        "malformed",
        "action",
    ),
    "NaN exposure": (
        good(command='{"command_id":"a","issued_wall_ns":1,"action":{"kind":"set_exposure","exposure_ms":NaN}}'),
        "malformed",
        "exposure_ms",
    ),
    "a decision without a word": (
        note("decision", {"name": "x", "id": "7", "decision": "{}"}),
        "malformed",
        "not a decision",
    ),
    "negative pending": (note("alive", {"name": "x", "id": "7", "node": "x", "pending": -1}), "malformed", "pending"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_content_is_answered_counted_and_survived(server: ControlServer, client: ControlClient, case: str) -> None:
    parts, reason, says = BAD[case]
    labels = {"port": "control", "reason": reason}
    before = REGISTRY.get_sample_value("cytoloop_messages_refused_total", labels) or 0
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stranger = context.socket(zmq.DEALER)
    stranger.connect(server.address)
    stranger.send_multipart(parts)
    assert stranger.poll(WAIT_S * 1000)
    answer = unpack(stranger.recv_multipart()[1])
    assert answer["kind"] == "error"
    assert says in answer["reason"]
    assert REGISTRY.get_sample_value("cytoloop_messages_refused_total", labels) == before + 1
    context.destroy(linger=0)
    client.ready()
    assert is_ready(following(server))


def test_a_submitted_command_that_the_rig_cannot_read_ends_refused() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    rig = context.socket(zmq.ROUTER)
    port = rig.bind_to_random_port("tcp://127.0.0.1")
    with ControlClient(f"tcp://127.0.0.1:{port}", name="n") as client:
        client.submit(command("lost"))
        sender, *_ = rig.recv_multipart()
        for parts in ([b"junk"], note("sing", {}), note("ack", {"ack": "{}"})):
            rig.send_multipart([sender, *parts])
        rig.send_multipart([sender, *note("error", {"id": "lost", "reason": "too new for me"})])
        assert client.next_ack(WAIT_S) == Ack(command_id="lost", state=AckState.REFUSED, reason="too new for me")
    context.destroy(linger=0)


def test_the_ear_is_on_this_host_only() -> None:
    with pytest.raises(WireError, match="not on this host"):
        ControlServer("tcp://0.0.0.0:5555")
    with pytest.raises(WireError, match="not on this host"):
        ControlClient("tcp://10.0.0.1:5555", name="n")


def test_a_stop_overtakes_what_waits_to_be_heard(server: ControlServer, client: ControlClient) -> None:
    for name in ("a", "b"):
        client.submit(command(name))
    client.submit(Command(command_id="stop", action=Stop(), issued_wall_ns=1))
    tick = threading.Event()
    while server._requests.qsize() < 3:
        tick.wait(0.01)
    assert [following(server).request_id for _ in range(3)] == ["stop", "a", "b"]
