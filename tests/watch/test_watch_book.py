"""What the page lists does not grow."""

from __future__ import annotations

import numpy as np

from stream.event import Event
from stream.watch.book import EventBook

CROP = (np.zeros((4, 4), np.uint16),)


def event(n: int, revision: int = 0) -> Event:
    return Event("division", f"e{n}", revision, "confirmed", "F", n, n, 1.0, 1, (2, 3), (0.0, 0.0), ((0.0, 0.0),))


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
