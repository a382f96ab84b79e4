"""Each policy loses exactly what it says, and both ends' accounts add up."""

from __future__ import annotations

from collections import Counter

import pytest

from stream.frame import FrameRef
from stream.wire.losses import Losses
from stream.wire.messages import Lost, Message, MessageKind
from stream.wire.policy import Outbox, Policy, deadline, latest, lossless


def message(n: int, kind: MessageKind = "frame", camera: str = "cam", field: str = "p0", born_ms: float = 0) -> Message:
    topic = f"frame/{camera}" if kind in ("frame", "gap") else kind
    return Message(topic, str(n).encode(), b"", kind, camera, field, round(born_ms * 1e6))


def drain(outbox: Outbox, now_ms: float = 0) -> tuple[list[int], Counter[str]]:
    kept, lost = [], Counter[str]()
    while True:
        taken, dropped = outbox.take(round(now_ms * 1e6))
        lost.update(reason for _, _, reason in dropped)
        if taken is None:
            return kept, lost
        kept.append(int(taken.header))


@pytest.mark.parametrize(
    ("policy", "kept", "reason"),
    [
        (lossless(4), [6, 7, 8, 9], "overflow"),
        (deadline(50, 4), [6, 7, 8, 9], "overflow"),
        (latest(4), [9], "superseded"),
    ],
    ids=["lossless", "deadline", "latest"],
)
def test_ten_frames_for_one_who_does_not_take(policy: Policy, kept: list[int], reason: str) -> None:
    outbox = Outbox(policy)
    lost = [loss for n in range(10) for loss in outbox.offer(message(n), 0)]
    assert Counter(lost) == {("frame", "cam", reason): 10 - len(kept)}
    assert outbox.untold() == Counter(lost)
    assert not outbox.untold()
    assert drain(outbox) == (kept, Counter())


def test_a_deadline_drops_whole_old_frames_only() -> None:
    outbox = Outbox(deadline(50))
    for n, born_ms in enumerate([0, 10, 20, 100, 149, 150]):
        outbox.offer(message(n, born_ms=born_ms), 0)
    outbox.offer(message(6, "gap", born_ms=0), 0)
    outbox.offer(message(7, "events", born_ms=0), 0)
    assert drain(outbox, now_ms=150) == ([3, 4, 5, 6, 7], Counter(deadline=3))
    assert outbox.untold() == {("frame", "cam", "deadline"): 3}


def test_latest_keeps_each_camera_field_and_kind_and_every_event() -> None:
    outbox = Outbox(latest())
    for n in range(0, 30, 10):
        outbox.offer(message(n, camera="a"), 0)
        outbox.offer(message(n + 1, camera="b"), 0)
        outbox.offer(message(n + 2, "labels", field="p0"), 0)
        outbox.offer(message(n + 3, "labels", field="p1"), 0)
        outbox.offer(message(n + 4, "events"), 0)
        outbox.offer(message(n + 5, "gap", camera="a"), 0)
    assert drain(outbox)[0] == [4, 5, 14, 15, 20, 21, 22, 23, 24, 25]
    assert outbox.untold() == {
        ("frame", "a", "superseded"): 2,
        ("frame", "b", "superseded"): 2,
        ("labels", "cam", "superseded"): 4,
    }


def test_what_became_too_old_goes_when_the_next_comes() -> None:
    """A consumer that takes nothing must not keep pixels alive that it will never be sent."""
    outbox = Outbox(deadline(50, 512))
    outbox.offer(message(0, "gap", born_ms=0), 0)
    lost = [outbox.offer(message(n, born_ms=n * 10), round(n * 10e6)) for n in range(1, 20)]
    assert [len(losses) for losses in lost] == [0] * 6 + [1] * 13
    assert len(outbox) == 1 + 6
    assert drain(outbox, now_ms=190) == ([0, *range(14, 20)], Counter())
    assert outbox.untold() == {("frame", "cam", "deadline"): 13}


def picture(n: int, channel: str = "", z: int = 0, bytes_: int = 0) -> Message:
    return Message("frame/cam", str(n).encode(), bytes(bytes_), "frame", "cam", "p0", 0, channel, z)


POLICIES = {"lossless": lossless(512), "deadline": deadline(50, 512), "latest": latest(512)}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_what_waits_is_bounded_in_bytes(policy: Policy) -> None:
    """Each frame is a plane of its own, so that none replaces another."""
    outbox = Outbox(policy, max_bytes=1000)
    lost = [loss for n in range(10) for loss in outbox.offer(picture(n, z=n, bytes_=300), 0)]
    assert lost == [("frame", "cam", "overflow")] * 7
    assert drain(outbox)[0] == [7, 8, 9]
    assert outbox.offer(picture(10, bytes_=5000), 0) == [], "the newest always finds room"
    assert drain(outbox)[0] == [10]
    for n in range(3):
        outbox.offer(picture(n, z=n, bytes_=300), 0)
    outbox.abandon("gone")
    assert [outbox.offer(picture(n, z=n, bytes_=300), 0) for n in range(3)] == [[]] * 3


def test_latest_keeps_the_newest_of_each_channel_and_plane() -> None:
    outbox = Outbox(latest())
    for n, (channel, z) in enumerate([("DAPI", 0), ("GFP", 0), ("GFP", 1), ("GFP", 0)]):
        lost = outbox.offer(picture(n, channel, z), 0)
        assert lost == ([("frame", "cam", "superseded")] if n == 3 else [])
    assert drain(outbox)[0] == [0, 2, 3]


def test_a_consumer_that_is_gone_loses_what_waited() -> None:
    outbox = Outbox(lossless())
    for n in range(3):
        outbox.offer(message(n), 0)
    assert outbox.abandon("gone") == [("frame", "cam", "gone")] * 3
    assert len(outbox) == 0


def ref(seq: int, epoch: int = 0, session: str = "s", camera: str = "cam") -> FrameRef:
    return FrameRef("r", camera, session, epoch, seq, "p0", seq)


def test_numbers_without_a_hole_lose_nothing() -> None:
    losses = Losses()
    assert [losses.arrived(ref(seq, epoch)) for epoch in (0, 1) for seq in range(5)] == [[]] * 10


@pytest.mark.parametrize(
    ("told", "refused", "next_ref", "expected"),
    [
        (0, 0, ref(8), [Lost("cam", 3, "link")]),
        (3, 0, ref(8), []),
        (2, 0, ref(8), [Lost("cam", 1, "link")]),
        (0, 1, ref(8), [Lost("cam", 1, "refused"), Lost("cam", 2, "link")]),
        (0, 9, ref(8), [Lost("cam", 3, "refused")]),
        (0, 1, ref(5), []),
        (2, 0, ref(0, epoch=1), []),
        (0, 0, ref(2, epoch=1), [Lost("cam", 2, "link")]),
        (0, 0, ref(4, session="new"), [Lost("cam", 4, "restart")]),
        (0, 0, ref(100, camera="other"), []),
    ],
    ids=[
        "a hole", "told", "partly told", "one refused", "all refused", "junk between", "told at an epoch's end",
        "an epoch's beginning missed", "a restart's beginning missed", "another camera joined late",
    ],
)  # fmt: skip
def test_every_missing_number_has_one_reason(told: int, refused: int, next_ref: FrameRef, expected: list[Lost]) -> None:
    losses = Losses()
    for seq in range(3, 5):
        losses.arrived(ref(seq))
    losses.told("cam", told)
    for _ in range(refused):
        losses.refused("cam")
    assert losses.arrived(next_ref) == expected
    assert losses.arrived(ref(next_ref.seq + 1, next_ref.epoch, next_ref.session, next_ref.camera)) == []
