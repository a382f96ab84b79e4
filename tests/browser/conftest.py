"""A browser, where this machine has one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stream.watch.chromium import Chromium, find


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    program = find()
    if program is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    with Chromium(program, timeout_s=60) as opened:
        yield opened
