"""What the page lists does not grow, and is counted once."""

from __future__ import annotations

import numpy as np

from stream.event import Event, Status
from stream.watch.book import CommandBook, EventBook

CROP = (np.zeros((4, 4), np.uint16),)


def event(n: int, revision: int = 0, status: Status = "confirmed") -> Event:
    return Event("division", f"e{n}", revision, status, "F", n, n, 1.0, 1, (2, 3), (0.0, 0.0), ((0.0, 0.0),))


def test_pictures_go_with_their_events_whether_or_not_the_newer_ones_have_any() -> None:
    book = EventBook(limit=10)
    for n in range(200):
        book.put(event(n), 0.0, CROP if n % 3 else ())
    assert len(book._crops) <= 10
    assert book.crops(200)
    for n in range(200, 220):
        book.put(event(n), 0.0, ())
    assert not book._crops
    book.put(event(219, revision=1), 0.0, CROP)
    assert book.crops(220), "also those of a later revision"


def test_events_that_are_confirmed_after_they_left_the_list_are_counted_once() -> None:
    book = EventBook(limit=10)
    for n in range(100):
        book.put(event(n, status="provisional"), 0.0, ())
        if n >= 50:
            book.put(event(n - 50, revision=1), 0.0, ())
            book.put(event(n - 50, status="provisional"), 0.0, ())
    assert book.counts == {("division", "provisional"): 50, ("division", "confirmed"): 50}
    assert len(book.rows.keys()) == 10


def test_a_command_that_waits_stays_in_the_list_until_it_is_answered() -> None:
    book = CommandBook(limit=10)
    book.put({"command_id": "waits", "action": {"kind": "acquire"}}, 0.0)
    book.ack({"command_id": "waits", "state": "accepted", "reason": "waits for approval"}, 0.0)
    for n in range(30):
        book.ack({"command_id": f"c{n}", "state": "applied"}, 0.0)
    assert book.rows.keys() == {"waits", *(f"c{n}" for n in range(21, 30))}
    book.ack({"command_id": "waits", "state": "denied"}, 0.0)
    assert +book.counts == {"applied": 30, "denied": 1}
    book.ack({"command_id": "c30", "state": "applied"}, 0.0)
    assert book.rows.get("waits") is None
