"""Where policies come from: a policy file, a user's own class, an entry point."""

from __future__ import annotations

from pathlib import Path

import pytest
from feedback_cases import event

from stream.command import Recentre
from stream.errors import ConfigError
from stream.feedback.load import load_policy
from stream.feedback.rules import RulesPolicy

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples" / "policies"


def test_a_policy_file_is_named_by_its_stem() -> None:
    name, policy = load_policy("catch_division.toml", EXAMPLES)
    assert name == "catch_division"
    assert isinstance(policy, RulesPolicy)


def test_a_users_class_follows_one_family() -> None:
    name, policy = load_policy("follow_divider.py:FollowDivider", EXAMPLES)
    assert name == "FollowDivider"
    state = policy.start()
    events = [
        event("provisional"),
        event(parent=7, daughter_ids=(8, 9)),
        event(parent=5, daughter_ids=(10, 11)),
        event(parent=9, daughter_ids=(12, 13), field="Camera:p1"),
        event(parent=9, daughter_ids=(12, 13), position_um=(5.0, 6.0)),
    ]
    moved = []
    for one in events:
        state, wishes = policy.decide(state, one)
        moved.append([wish.action for wish in wishes])
    assert moved == [[], [Recentre(target_um=(3.0, -4.0))], [], [], [Recentre(target_um=(5.0, 6.0))]]


REFUSED = {
    "no file": ("gone.toml", r"gone\.toml: no such file"),
    "no module": ("gone.py:Policy", r"no file .*gone\.py"),
    "no class": ("user.py:Gone", "defines no 'Gone'"),
    "no policy": ("user.py:NotOne", r"is no policy: it needs start\(\) and decide\(state, event\)"),
    "raises": ("user.py:Raises", "cannot be made: OSError: no licence"),
    "rules without a file": ("rules", "name the .toml file itself"),
    "unknown entry point": ("rulez", "did you mean 'rules'"),
}
USER = """
class NotOne:
    def decide(self, state, event): return state, ()

class Raises:
    def __init__(self): raise OSError("no licence")
"""


@pytest.mark.parametrize(("spec", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_policy_is_refused(spec: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    with pytest.raises(ConfigError, match=message):
        load_policy(spec, tmp_path)
