"""What the policies would do: their rules in words, and which kinds of command they may send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stream.feedback.actions import Template
from stream.feedback.load import load_policy
from stream.feedback.rules import Rule, RulesPolicy

_NO_CONDITION = frozenset({"name", "on", "after", "again_s", "per_field", "cooldown_s", "priority", "max_age_ms", "do"})


def describe(spec: str, base: Path) -> dict[str, Any]:
    """Return ``name``, ``rules`` in words, ``sends`` (kind, values that are fixed and position of each action; None:
    anything) and ``measures`` (the rules that ask for an intensity, and in which channel).

    Raises
    ------
    ConfigError
        The policy cannot be found or read.
    """
    name, policy = load_policy(spec, base)
    if not isinstance(policy, RulesPolicy):
        doc = (type(policy).__doc__ or "").strip().partition("\n")[0]
        said = f"{type(policy).__name__}: {doc or 'a class of its own'}"
        return {"name": name, "rules": [said], "sends": None, "measures": []}
    return {
        "name": name,
        "rules": [in_words(rule) for rule in policy.rules],
        "sends": [_sent(rule, template) for rule in policy.rules for template in rule.actions],
        "measures": [_measured(rule) for rule in policy.rules if rule.text.intensity.binds],
    }


def in_words(rule: Rule) -> str:
    """Return a rule as one sentence."""
    text = rule.text
    on = (text.on,) if isinstance(text.on, str) else text.on
    said = [f"'{text.name}': on {' or '.join(_trigger(one) for one in on)}"]
    if conditions := "; ".join(_conditions(text.model_dump(exclude_defaults=True))):
        said.append(f"where {conditions}")
    if text.after:
        said.append(f"once after {' or '.join(repr(name) for name in text.after)}")
    if text.cooldown_s:
        said.append(f"at most every {text.cooldown_s:g} s{' in a field' if rule.per_field else ''}")
    if text.again_s:
        said.append(f"again every {text.again_s:g} s")
    return f"{', '.join(said)}: {'; '.join(_action(template) for template in rule.actions)}"


def _trigger(name: str) -> str:
    kind, _, status = name.partition(".")
    return "every decided frame" if kind == "frame" else f"{status} {kind}".strip()


def _conditions(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if name not in _NO_CONDITION:
            yield _bound(value) if name == "where" else f"{name} {_bound(value)}"


def _bound(value: Any) -> str:
    if not isinstance(value, Mapping):
        return " to ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if not set(value) <= {"min", "max", "channel"}:
        return ", ".join(f"{name} {_bound(inner)}" for name, inner in value.items())
    low, high = value.get("min"), value.get("max")
    said = [f"≥ {low:g}" if low is not None else "", f"≤ {high:g}" if high is not None else ""]
    where = f" (channel {value['channel']})" if value.get("channel") else ""
    return " and ".join(filter(None, said)) + where


def _action(template: Template) -> str:
    values = {name: value for name, value in template.values.items() if name not in ("kind", "mask_yx_px")}
    said = [f"{name} {value}" for name, value in values.items()]
    if template.discs is not None:
        said.append(f"a disc of {template.discs.radius_px:g} px on {template.discs.mask}")
    if template.position is not None:
        said.append(f"of {'its position' if template.position == 'event' else f'position {template.position}'}")
    return " ".join((template.kind, ", ".join(said))).strip()


def _measured(rule: Rule) -> dict[str, Any]:
    return {"rule": rule.text.name, "channel": rule.text.intensity.channel}


def _sent(rule: Rule, template: Template) -> dict[str, Any]:
    fixed = {name: value for name, value in template.values.items() if isinstance(value, int | float)}
    return {"kind": template.kind, "rule": rule.text.name, "fixed": fixed, "position": template.position}
