"""Every fault of the table, on a running rig: what it does and what it answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.clock import now_ns
from tests.cases.hand_rig import HandDriver
from tests.cases.rig_bench import rig_bench
from tests.cases.rig_faults import DOCUMENT, FAULTS, Fault, as_markdown


def test_the_document_says_what_is_tested() -> None:
    """Write it anew with ``python -m tests.cases.rig_faults``."""
    assert DOCUMENT.read_text(encoding="utf-8") == as_markdown()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(fault: Fault, tmp_path: Path) -> None:
    driver = HandDriver(now_ns, frame_ms=20.0, faults=dict(fault.broken))
    with rig_bench(tmp_path, driver, **fault.config) as rig:
        state, reason = fault.play(rig)
        assert state == fault.state, reason
        assert fault.says in reason
        finals = rig.rows("SELECT command_id, sum(final) FROM transitions GROUP BY command_id HAVING sum(final) > 1")
        assert finals == [], "a command has one final state"
