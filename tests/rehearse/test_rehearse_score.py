"""A run is scored by its files alone: truth written by hand, facts written as the nodes write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.command import Ack, AckState, Cause, Command, SetInterval
from stream.errors import StoreError
from stream.event import Event, event_id
from stream.facts.analysis import AnalysisFacts
from stream.facts.rig import RigFacts
from stream.frame import Frame, Index, Stamps, field_name
from stream.rehearse.score import Scored, score
from stream.rehearse.truth import read
from stream.safety import DoseSettings

PX = 100
SECOND = 1_000_000_000
P0, P1 = field_name("Camera", 0), field_name("Camera", 1)
# Cell 1 divides at minute 20 in the first field, cell 2 at minute 30 in the second, cell 3 where nobody looks.
MOTHERS = {
    1: (10.0, 20.0, 35.0, (50.0, 50.0)),
    2: (18.0, 30.0, 45.0, (250.0, 50.0)),
    3: (12.0, 22.0, 37.0, (900.0, 0.0)),
}
LEFT_UM = {P0: 0.0, P1: 200.0}


def truth_lines(frames: list[tuple[str, int, float]]) -> list[dict[str, Any]]:
    """The specimen's life with one exposure for each frame, in order of time; cell c has daughters 10 c, 10 c + 1."""
    lines: list[dict[str, Any]] = [{"kind": "start", "minute": 0.0}]
    for cell, (begin, split, end, _) in MOTHERS.items():
        pair = [10 * cell, 10 * cell + 1]
        lines.append({"kind": "mitosis", "minute": begin, "cell": cell})
        lines.append({"kind": "divided", "minute": split, "cell": cell, "began_min": begin, "daughters": pair})
        lines += [{"kind": "settled", "minute": end, "cell": one, "mother": cell} for one in pair]
    lines.append({"kind": "dying", "minute": 50.0, "cell": 7, "cause": "light"})
    lines.append({"kind": "stimulated", "minute": 36.0, "cell": 10})
    for exposure, (field, number, minute) in enumerate(frames):
        rows = [row for cell in MOTHERS for row in there(cell, minute)]
        columns = {name: [row[i] for row in rows] for i, name in enumerate(("cell", "x_um", "y_um", "phase"))}
        lines.append({"kind": "mitotic", "minute": minute, "exposure": exposure, **columns})
        lines.append({"kind": "cells", "minute": minute, **columns})
        left = LEFT_UM.get(field, 0.0)
        lines.append(
            {
                "kind": "frame", "minute": minute, "exposure": exposure, "field": field, "frame": number,
                "x_um": [left, left + PX], "y_um": [0.0, PX],
            }
        )  # fmt: skip
    return sorted(lines, key=lambda line: line["minute"])


def there(cell: int, minute: float) -> list[tuple[int, float, float, str]]:
    begin, split, end, (x, y) = MOTHERS[cell]
    if begin <= minute < split:
        return [(cell, x, y, "metaphase")]
    return [(10 * cell + i, x + 6 * i - 3, y, "telophase") for i in (0, 1)] if split <= minute < end else []


def frame(field: str, position: int, number: int, at_s: float, commands: tuple[str, ...] = ()) -> Frame:
    return Frame(
        "r", "Camera", "s", 0, round(at_s * 100), field, number, np.zeros((PX, PX), np.uint16),
        index=Index(p=position), exposure_ms=20.0, stamps=Stamps(t_pop_ns=round(at_s * SECOND) + 7), commands=commands,
    )  # fmt: skip


def told(field: str, number: int, yx: tuple[float, float], status: Any, revision: int = 0, parent: int = 1) -> Event:
    pair = ((yx[0], yx[1] - 3), (yx[0], yx[1] + 3))
    name = event_id(field, number, "division", parent)
    return Event("division", name, revision, status, field, number, number + revision, 0.9, parent, (5, 6), yx, pair)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Ten visits to two fields, one every 5 minutes and 5 seconds; and a sequence beside the plan."""
    visits = [(field, number, 5.0 * number + 0.1 * (field == P1)) for number in range(10) for field in (P0, P1)]
    aside = field_name("Camera", 0, aside="c1")
    folder = tmp_path / "truth" / "TRA"
    folder.mkdir(parents=True)
    lines = truth_lines([*visits, (aside, 0, 26.0)])
    (folder / "specimen.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "to')
    rig = RigFacts(tmp_path)
    for field, number, minute in visits:
        rig.frame(frame(field, int(field == P1), number, minute), light_power=0.5)
    rig.frame(frame(aside, 0, 0, 26.0), light_power=0.5)
    for number, (state, reason) in enumerate(
        [(AckState.APPLIED, ""), (AckState.REFUSED, "longer than 12.5 ms"), (AckState.REFUSED, "longer than 99 ms")]
    ):
        command = Command(
            command_id=f"c{number}", action=SetInterval(interval_ms=5), cause=Cause(origin="p"), issued_wall_ns=1
        )
        rig.command(command)
        rig.transition(Ack(command_id=f"c{number}", state=state, reason=reason))
    rig.close()
    facts = AnalysisFacts(tmp_path)
    facts.event(told(P0, 4, (50.0, 50.0), "provisional"))
    facts.event(told(P0, 4, (50.0, 50.0), "confirmed", 3))
    facts.event(told(P0, 5, (10.0, 10.0), "confirmed", parent=2))  # nobody divides there
    facts.event(told(P1, 6, (50.0, 50.0), "provisional", parent=3))
    facts.event(told(P1, 6, (50.0, 50.0), "retracted", 2, parent=3))  # taken back: it was right
    facts.close()
    return tmp_path


def scored(run_dir: Path, **dose: float) -> Scored:
    return score(run_dir, DoseSettings(**dose))  # type: ignore[arg-type]


def test_divisions_are_caught_missed_and_false(run_dir: Path) -> None:
    found = scored(run_dir)
    assert (list(found.caught), [one.cell for one in found.missed], found.false_at_s) == ([1], [2], [25.0])
    counts = {name: found.figures[name] for name in ("divisions", "caught", "missed", "false")}
    assert counts == {"divisions": 2, "caught": 1, "missed": 1, "false": 1}
    assert found.figures["delay_s"] == pytest.approx(0.0, abs=1e-6)


def test_frames_count_once_for_each_mitosis_in_view(run_dir: Path) -> None:
    figures = scored(run_dir).figures
    # Minutes 10 to 30 in the first field, 20 to 40 in the second; the sequence beside the plan is no time point.
    assert (figures["frames"], figures["aside"], figures["in_window"]) == (20, 1, 5 + 5)
    assert figures["mitoses_shown"] == 2
    assert figures["at_place"] == pytest.approx((5 * 0.1 + 5 * 4.9) / 45.1, abs=1e-3)  # newest of either field


def test_light_is_the_ledgers_and_its_budget_is_a_fields(run_dir: Path) -> None:
    figures = scored(run_dir, budget_full_power_s=0.2).figures
    assert figures["light_ms"] == pytest.approx(21 * 10.0)
    assert figures["budget_used"] == pytest.approx(0.55)  # the first field's, with the sequence beside the plan
    assert scored(run_dir).figures["budget_used"] is None


def test_limits_are_counted_by_reason_whatever_the_numbers(run_dir: Path) -> None:
    figures = scored(run_dir).figures
    assert figures["limits"] == {"set_interval refused: longer than … ms": 2}
    assert figures["commands"] == {"applied": 1, "refused": 2}


def test_what_else_became_of_the_cells(run_dir: Path) -> None:
    figures = scored(run_dir).figures
    assert (figures["killed"], figures["stimulated"], figures["stimulated_daughters"]) == (1, 1, 1)
    assert figures["kept"] == 1.0


def test_a_split_that_was_never_in_view_is_not_missed(run_dir: Path) -> None:
    truth = read(run_dir)
    assert sorted(truth.mitoses) == [1, 2, 3]
    assert [one.cell for one in truth.seen()] == [1, 2]


def test_a_run_without_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="wrote no truth"):
        read(tmp_path)
