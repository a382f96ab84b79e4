"""Publisher and subscriber over real sockets: credits, policies, accounts, the end of a stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from stream.clock import FakeClock
from stream.errors import WireError
from stream.frame import Frame, FrameRef, Gap, Stamps
from stream.metrics import REGISTRY
from stream.wire import codec, subscribe
from stream.wire.link import note
from stream.wire.messages import EndOfStream, EventsOf, Fact, Item, Labels, Lost, Message
from stream.wire.policy import Policy, deadline, latest, lossless
from stream.wire.publish import Publisher
from stream.wire.subscribe import Subscriber

WAIT_S = 20
PIXELS = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
REF = FrameRef("r", "cam", "s", 0, 0, "cam:p0", 0)


def frame(seq: int, camera: str = "cam", t_pop_ns: int = 0) -> Frame:
    return Frame("r", camera, "s", 0, seq, f"{camera}:p0", seq, PIXELS, stamps=Stamps(t_pop_ns=t_pop_ns))


def lost_count(name: str, reason: str, kind: str = "") -> float:
    labels = {"stage": f"wire:{name}{kind}", "reason": reason}
    return REGISTRY.get_sample_value("cytoloop_frames_lost_total", labels) or 0.0


def refused_count(port: str, reason: str) -> float:
    return REGISTRY.get_sample_value("cytoloop_messages_refused_total", {"port": port, "reason": reason}) or 0.0


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher("tcp://127.0.0.1:0", run="r", session="s", node="acquire") as made:
        yield made


Join = Callable[..., Subscriber]


@pytest.fixture
def join(publisher: Publisher) -> Iterator[Join]:
    """Return a function that joins a subscriber and waits until the publisher knows it."""
    joined: list[Subscriber] = []

    def make(
        name: str, topics: tuple[str, ...] = ("frame",), policy: Policy | None = None, credits: int = 8
    ) -> Subscriber:
        subscriber = Subscriber(publisher.address, topics, name=name, policy=policy, credits=credits)
        joined.append(subscriber)
        while not subscriber.session:
            subscriber.next(0.05)
        return subscriber

    yield make
    for subscriber in joined:
        subscriber.close()


def read_all(subscriber: Subscriber) -> list[Item]:
    """Return everything up to the end of the stream."""
    items: list[Item] = []
    while not items or not isinstance(items[-1], EndOfStream):
        item = subscriber.next(WAIT_S)
        assert item is not None, f"nothing came for {WAIT_S} s after {len(items)} items"
        items.append(item)
    return items


def finish(publisher: Publisher, *subscribers: Subscriber) -> tuple[bool, list[list[Item]]]:
    """Finish the stream while every subscriber reads its own to the end."""
    done: list[bool] = []
    closer = threading.Thread(target=lambda: done.append(publisher.finish(WAIT_S)))
    closer.start()
    read: list[list[Item]] = [[] for _ in subscribers]
    readers = [
        threading.Thread(target=lambda at=at, one=one: read[at].extend(read_all(one)))
        for at, one in enumerate(subscribers)
    ]
    for reader in readers:
        reader.start()
    for thread in (*readers, closer):
        thread.join(WAIT_S * 2)
    return done[0], read


def seqs(items: list[Item]) -> list[int]:
    return [item.seq for item in items if isinstance(item, Frame)]


def losses(items: list[Item]) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in items:
        if isinstance(item, Lost):
            found[item.reason] = found.get(item.reason, 0) + item.count
    return found


def test_topics_are_exact_or_a_first_word(publisher: Publisher, join: Join) -> None:
    every, one, results = join("every", ("frame",)), join("one", ("frame/cam",)), join("results", ("labels", "events"))
    for message in (
        codec.encode_frame(frame(0)), codec.encode_frame(frame(0, "cam2")),
        codec.encode_labels(REF, np.ones((2, 2), np.int32)), codec.encode_events(REF, []),
        codec.encode_fact({"fact": "plan"}),
    ):  # fmt: skip
        publisher.send(message)
    complete, (all_frames, one_camera, found) = finish(publisher, every, one, results)
    assert complete
    assert [item.camera for item in all_frames[:-1] if isinstance(item, Frame)] == ["cam", "cam2"]
    assert len(all_frames) == 3
    assert [item.camera for item in one_camera[:-1] if isinstance(item, Frame)] == ["cam"]
    assert [type(item) for item in found] == [Labels, EventsOf, EndOfStream]


def test_a_received_frame_is_stamped(publisher: Publisher, join: Join) -> None:
    subscriber = join("stamps")
    publisher.send(codec.encode_frame(frame(0)))
    got = subscriber.next(WAIT_S)
    assert isinstance(got, Frame)
    assert 0 < got.stamps.t_publish_ns < got.stamps.t_receive_ns
    assert np.array_equal(got.pixels, PIXELS)


def test_credits_bound_what_is_under_way(publisher: Publisher, join: Join) -> None:
    subscriber = join("slow", credits=3)
    for seq in range(10):
        publisher.send(codec.encode_frame(frame(seq)))
    assert isinstance(subscriber.next(WAIT_S), Frame)  # so the publisher has sent all that the credits allow
    assert publisher.waiting("slow") >= 10 - 3
    complete, (items,) = finish(publisher, subscriber)
    assert complete
    assert seqs(items) == list(range(1, 10))


@pytest.mark.parametrize(("policy", "reason"), [(lossless(5), "overflow"), (latest(), "superseded")])
def test_losses_are_the_same_at_both_ends(publisher: Publisher, join: Join, policy: Policy, reason: str) -> None:
    name = f"both-{policy.kind}"
    subscriber = join(name, policy=policy, credits=2)
    for seq in range(40):
        publisher.send(codec.encode_frame(frame(seq)))
    complete, (items,) = finish(publisher, subscriber)
    assert complete
    told = losses(items)
    assert set(told) == {reason}
    assert told[reason] == lost_count(name, reason) == 40 - len(seqs(items))
    assert seqs(items)[-1] == 39
    assert seqs(items) == sorted(seqs(items))


def test_frames_beyond_the_deadline_are_dropped_and_told() -> None:
    clock = FakeClock(10**9)
    with (
        Publisher("tcp://127.0.0.1:0", run="r", session="s", node="n", clock=clock) as publisher,
        Subscriber(publisher.address, ["frame"], name="late", policy=deadline(50), credits=1) as subscriber,
    ):
        while not subscriber.session:
            subscriber.next(0.05)
        publisher.send(codec.encode_frame(frame(0, t_pop_ns=clock())))
        first = subscriber.next(WAIT_S)  # its credit goes back with the next call, so the rest must wait
        for seq in range(1, 10):
            publisher.send(codec.encode_frame(frame(seq, t_pop_ns=clock())))
        clock.advance_ms(51)
        for seq in range(10, 13):
            publisher.send(codec.encode_frame(frame(seq, t_pop_ns=clock())))
        complete, (items,) = finish(publisher, subscriber)
    assert isinstance(first, Frame)
    assert first.seq == 0
    assert complete
    assert seqs(items) == [10, 11, 12]
    assert losses(items) == {"deadline": 9}
    assert lost_count("late", "deadline") == 9


def test_one_who_takes_nothing_costs_another_nothing(publisher: Publisher, join: Join) -> None:
    stuck, quick = join("stuck", policy=lossless(4), credits=1), join("quick", policy=lossless(300))
    for seq in range(300):
        publisher.send(codec.encode_frame(frame(seq)))
    got = [quick.next(WAIT_S) for _ in range(300)]
    assert [item.seq for item in got if isinstance(item, Frame)] == list(range(300))
    assert lost_count("quick", "overflow") == 0
    assert 300 - 4 - 2 <= lost_count("stuck", "overflow") <= 300 - 4
    stuck.close()
    assert publisher.wait_until(lambda names: names == {"quick"}, WAIT_S)


def test_bye_with_nothing_lost_fifty_times() -> None:
    for _ in range(50):
        with Publisher("tcp://127.0.0.1:0", run="r", session="s", node="n") as publisher:
            with Subscriber(publisher.address, [""], name="bye", credits=3) as subscriber:
                while not subscriber.session:
                    subscriber.next(0.05)
                for seq in range(60):
                    assert publisher.send(codec.encode_frame(frame(seq)))
                complete, (items,) = finish(publisher, subscriber)
            assert complete
            assert seqs(items) == list(range(60))
            assert not publisher.send(codec.encode_frame(frame(60)))


def test_the_end_comes_to_one_who_joins_late(publisher: Publisher, join: Join) -> None:
    first = join("first")
    publisher.send(codec.encode_frame(frame(0)))
    ended = threading.Thread(target=lambda: publisher.finish(WAIT_S))
    ended.start()
    with Subscriber(publisher.address, ["frame"], name="second") as second:
        assert isinstance(read_all(second)[-1], EndOfStream)
    assert seqs(read_all(first)) == [0]
    ended.join(WAIT_S)


def test_finish_gives_up_on_one_who_does_not_read(publisher: Publisher, join: Join) -> None:
    join("deaf", credits=1)
    for seq in range(5):
        publisher.send(codec.encode_frame(frame(seq)))
    assert not publisher.finish(0.2)
    assert lost_count("deaf", "closed") == 1  # under way
    assert lost_count("deaf", "end") == 4


def test_one_too_slow_for_the_end_is_told_what_it_lost_and_that_it_is_over(publisher: Publisher, join: Join) -> None:
    slow = join("too slow", credits=2)
    for seq in range(10):
        publisher.send(codec.encode_frame(frame(seq)))
    assert not publisher.finish(0.2)
    items = read_all(slow)
    assert seqs(items) == [0, 1]
    assert losses(items) == {"end": 8}
    assert isinstance(items[-1], EndOfStream)
    assert lost_count("too slow", "end") == 8


def test_one_who_still_takes_what_waits_is_given_the_time(publisher: Publisher, join: Join) -> None:
    """Each frame takes a small part of the time that one who takes nothing is given; all of them take twice as long."""
    slow, frames = join("steady", credits=2), 15
    for seq in range(frames):
        publisher.send(codec.encode_frame(frame(seq)))
    done: list[bool] = []
    closer = threading.Thread(target=lambda: done.append(publisher.finish(1.0)))
    closer.start()
    items: list[Item | None] = []
    while not items or not isinstance(items[-1], EndOfStream):
        items.append(slow.next(WAIT_S))
        assert items[-1] is not None
        threading.Event().wait(0.15)  # the frame is worked on
    closer.join(WAIT_S)
    assert done == [True]
    assert [item.seq for item in items if isinstance(item, Frame)] == list(range(frames))


def test_one_who_takes_long_for_each_frame_shows_that_it_goes_on(
    publisher: Publisher, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribe, "_CREDIT_S", 0.01)
    slow = join("thorough", credits=8)
    for seq in range(20):
        publisher.send(codec.encode_frame(frame(seq)))
    for _ in range(3):
        assert isinstance(slow.next(WAIT_S), Frame)
        threading.Event().wait(0.02)  # the frame is worked on
    end = threading.Event()
    for _ in range(200):
        if publisher.waiting("thorough") <= 20 - 8 - 2:
            end.set()
            break
        end.wait(0.05)
    assert end.is_set(), "credits come back one by one, not by four"


def test_the_end_waits_no_longer_than_it_may_for_one_who_takes_its_time(publisher: Publisher, join: Join) -> None:
    slow = join("endless", credits=1)
    for seq in range(100):
        publisher.send(codec.encode_frame(frame(seq)))
    done: list[bool] = []
    closer = threading.Thread(target=lambda: done.append(publisher.finish(WAIT_S, longest_s=0.5)))
    closer.start()
    while closer.is_alive():
        slow.next(0.05)
        closer.join(0.05)
    assert done == [False]
    assert lost_count("endless", "end") > 0


def test_one_who_is_waited_for_has_taken_all(publisher: Publisher, join: Join) -> None:
    subscriber = join("behind", credits=2)
    for seq in range(3):
        publisher.send(codec.encode_frame(frame(seq)))
    assert not publisher.wait_taken("behind", 0.05)
    assert publisher.wait_taken("nobody", 0.05)
    waited: list[bool] = []
    waiting = threading.Thread(target=lambda: waited.append(publisher.wait_taken("behind", WAIT_S)))
    waiting.start()
    for _ in range(2):
        assert isinstance(subscriber.next(WAIT_S), Frame)
    waiting.join(WAIT_S)
    assert waited == [True]


def test_frames_too_old_do_not_wait_for_a_consumer_that_takes_nothing() -> None:
    clock = FakeClock(10**9)
    with (
        Publisher("tcp://127.0.0.1:0", run="r", session="s", node="n", clock=clock) as publisher,
        Subscriber(publisher.address, ["frame"], name="hung", policy=deadline(50, 512), credits=1) as subscriber,
    ):
        while not subscriber.session:
            subscriber.next(0.05)
        for seq in range(100):
            publisher.send(codec.encode_frame(frame(seq, t_pop_ns=clock())))
            clock.advance_ms(10)
        assert publisher.waiting("hung") <= 6
        clock.advance_ms(1000)
        assert publisher.wait_taken("hung", WAIT_S), "nothing follows, and yet they are let go"


def test_closing_is_idempotent_and_needs_no_consumer() -> None:
    publisher = Publisher("tcp://127.0.0.1:0", run="r", session="s", node="n")
    assert publisher.finish(WAIT_S)
    publisher.close()
    subscriber = Subscriber(publisher.address, [""], name="nobody")
    assert subscriber.next(0.01) is None
    subscriber.close()
    subscriber.close()


@pytest.mark.parametrize(
    "address",
    ["tcp://0.0.0.0:0", "tcp://*:0", "tcp://192.168.1.5:4000", "tcp://rig.example:1", "udp://127.0.0.1:1", "no"],
)
def test_an_address_open_to_the_network_is_refused(address: str) -> None:
    with pytest.raises(WireError, match=r"use tcp://127\.0\.0\.1"):
        Publisher(address, run="r", session="s", node="n")
    with pytest.raises(WireError, match=r"use tcp://127\.0\.0\.1"):
        Subscriber(address, [""], name="n")


def test_a_taken_address_is_named(publisher: Publisher) -> None:
    with pytest.raises(WireError, match=publisher.address):
        Publisher(publisher.address, run="r", session="s", node="n")


HELLO: dict[str, Any] = {
    "name": "x", "instance": "i", "topics": [""], "credits": 2,
    "policy": {"kind": "latest", "limit": 3, "max_age_ms": 0.0},
}  # fmt: skip
STRANGERS: dict[str, tuple[list[bytes], str]] = {
    "one part": ([b"hello"], "malformed"),
    "a frame": ([b"frame/cam", b"x", b"y"], "malformed"),
    "torn": ([b"!", note("hello", HELLO)[1][:-4]], "malformed"),
    "no schema": ([b"!", msgpack.packb(HELLO | {"kind": "hello"})], "malformed"),
    "another major": ([b"!", msgpack.packb(HELLO | {"kind": "hello", "schema": "9.0"})], "schema"),
    "no credits": (note("hello", HELLO | {"credits": 0}), "malformed"),
    "unknown policy": (note("hello", HELLO | {"policy": {"kind": "greedy", "limit": 1}}), "malformed"),
    "NaN deadline": (
        note("hello", HELLO | {"policy": {"kind": "deadline", "limit": 3, "max_age_ms": float("nan")}}), "malformed"
    ),
    "topics of numbers": (note("hello", HELLO | {"topics": [1]}), "malformed"),
    "unknown kind": (note("take", {}), "malformed"),
}  # fmt: skip


@pytest.mark.parametrize("case", STRANGERS)
def test_strangers_are_counted_and_the_stream_goes_on(publisher: Publisher, join: Join, case: str) -> None:
    parts, reason = STRANGERS[case]
    subscriber = join("friend")
    before = refused_count("acquire", reason)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stranger = context.socket(zmq.DEALER)
    stranger.connect(publisher.address)
    stranger.send_multipart(parts)
    stranger.send_multipart(note("hello", HELLO | {"name": "last"}))  # answered after what came before it
    assert publisher.wait_for(["last"], WAIT_S)
    assert refused_count("acquire", reason) == before + 1
    publisher.send(codec.encode_frame(frame(0)))
    assert isinstance(subscriber.next(WAIT_S), Frame)
    context.destroy(linger=0)


def test_one_who_invents_credits_gets_none(publisher: Publisher) -> None:
    before = refused_count("acquire", "malformed")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    greedy = context.socket(zmq.DEALER)
    greedy.connect(publisher.address)
    greedy.send_multipart(note("hello", HELLO))
    greedy.send_multipart(note("credit", {"count": 1000}))
    greedy.send_multipart(note("hello", HELLO | {"instance": "again", "name": "again"}))
    assert publisher.wait_for(["again"], WAIT_S)
    assert refused_count("acquire", "malformed") == before + 1
    context.destroy(linger=0)


def test_a_message_that_cannot_be_read_is_skipped_and_accounted_for(publisher: Publisher, join: Join) -> None:
    subscriber = join("reader")
    before = refused_count("reader", "malformed")
    good = codec.encode_frame(frame(1))
    torn = Message(good.topic, good.header, bytes(good.payload)[:-2], "frame", "cam", "cam:p0", good.born_ns)
    for message in (codec.encode_frame(frame(0)), torn, codec.encode_frame(frame(2))):
        publisher.send(message)
    items = [subscriber.next(WAIT_S) for _ in range(3)]
    assert items[1] == Lost("cam", 1, "refused")
    assert [item.seq for item in items if isinstance(item, Frame)] == [0, 2]
    assert refused_count("reader", "malformed") == before + 1


def test_losses_that_nothing_follows_are_told_all_the_same(publisher: Publisher, join: Join) -> None:
    subscriber = join("silent", policy=deadline(0), credits=1)
    publisher.send(codec.encode_frame(frame(0, t_pop_ns=1)))
    assert subscriber.next(WAIT_S) == Lost("cam", 1, "deadline")


def test_gaps_and_facts_keep_their_place_among_frames(publisher: Publisher, join: Join) -> None:
    subscriber = join("order", ("frame", "facts"))
    gap = Gap("cam", "cam:p0", "s", 0, 0, 2, "overflow")
    for message in (codec.encode_frame(frame(0)), codec.encode_gap(gap, run="r"), codec.encode_fact({"fact": "x"})):
        publisher.send(message)
    items = [subscriber.next(WAIT_S) for _ in range(3)]
    assert isinstance(items[0], Frame)
    assert items[1] == gap
    assert isinstance(items[2], Fact)
