"""Each mistake about a division is put down to its cause."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.division_mistakes import FALSE, MISSED, Mistakes
from stream.score.overlap import overlap

FRAMES = 8
TRUE = {1: (0, 3, 0), 2: (4, 7, 1), 3: (4, 7, 1), 4: (0, 7, 0), 5: (0, 3, 0), 6: (4, 7, 0), 7: (4, 7, 0)}
"""True tracks: first and last frame, mother. 1 divides in frame 4; so does 5, whose daughters name no mother."""
PLACES = {1: (0, 2), 2: (0, 1), 3: (1, 2), 4: (2, 3), 5: (3, 5), 6: (3, 4), 7: (4, 5), 8: (5, 6)}
"""What each covers of a row of places; nobody true is in place 5."""


def painted(tracks, places, frame):
    image = np.zeros((4, 24), np.int64)
    for label, (first, last, _) in tracks.items():
        if first <= frame <= last:
            begin, end = places[label]
            image[:, 4 * begin : 4 * end] = label
    return image


def mistakes(found, places=PLACES):
    rows = [np.array([[label, *life] for label, life in tracks.items()], np.int64) for tracks in (TRUE, found)]
    pictures = [(painted(TRUE, PLACES, f), painted(found, places, f)) for f in range(FRAMES)]
    return Mistakes({f: overlap(*both) for f, both in enumerate(pictures)}, *rows)


NOTHING = {label: (first, last, 0) for label, (first, last, _) in TRUE.items()}
CASES = {
    "all is right": (TRUE, PLACES, None, None),
    "nothing is told": (NOTHING, PLACES, 3, None),
    "too late": (TRUE | {1: (0, 5, 0), 2: (6, 7, 1), 3: (6, 7, 1)}, PLACES, 0, 1),
    "another mother": (TRUE | {2: (4, 7, 4), 3: (4, 7, 4), 4: (0, 3, 0)}, PLACES, 1, 1),
    "another partner": (TRUE | {3: (4, 7, 0), 4: (4, 7, 1)}, PLACES, 2, 3),
    "daughters that are one cell": ({k: v for k, v in TRUE.items() if k != 3}, PLACES | {2: (0, 2)}, 0, None),
    "the truth names no mother": (TRUE | {6: (4, 7, 5), 7: (4, 7, 5)}, PLACES, None, 2),
    "a daughter that nobody knows": (TRUE | {4: (0, 3, 0), 6: (4, 7, 4), 8: (4, 7, 4)}, PLACES, None, 0),
    "old cells": (TRUE | {5: (0, 1, 0), 4: (2, 7, 5), 6: (4, 7, 0), 8: (2, 7, 5)}, PLACES | {8: (3, 5)}, None, 4),
}


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_has_its_cause(name):
    found, places, missed, false = CASES[name]
    told = mistakes(found, places)
    assert dict(told.missed()) == ({} if missed is None else {MISSED[missed]: 1})
    assert dict(told.false()) == ({} if false is None else {FALSE[false]: 1})
