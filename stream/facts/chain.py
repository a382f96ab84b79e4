"""Provenance as a person reads it: frame ← command ← rule ← event ← frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


def in_words(found: Mapping[str, Any]) -> str:
    """Return what :mod:`stream.facts.provenance` found, as indented lines."""
    return "\n".join(_lines(found))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    frame = found.get("frame")
    if frame:
        yield _frame(frame)
        yield from _settings(found["settings"])
    if "event" in found:
        yield from _event(found["event"], "", None)
        yield "" if found["commands"] else "no command was sent for it"
    for command in found["commands"]:
        yield from _command(command, told=found.get("event"))
    for loss in found.get("lost", ()):
        where = f" in {loss['field']}" if loss["field"] else ""
        frame_number = f", frame {loss['frame']}" if loss["frame"] is not None else ""
        detail = f": {loss['detail']}" if loss["detail"] else ""
        yield f"lost around it: {loss['count']} by {loss['stage']} ({loss['reason']}){where}{frame_number}{detail}"


def _frame(frame: Mapping[str, Any]) -> str:
    decided = frame["decided"]
    age = decided["age_ms"] if decided else None
    said = "decided" if decided else "never decided, or not yet"
    if age is not None:
        said = f"decided {age:.1f} ms after it was in hand"
    return (
        f"frame {frame['frame']} of {frame['field']} (epoch {frame['epoch']}, seq {frame['seq']}), "
        f"taken {_clock(frame['wall_ns'])}, {said}"
    )


def _settings(settings: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the settings: by command, then those of the plan."""
    by_command: dict[str | None, list[str]] = {}
    for name, setting in settings.items():
        by_command.setdefault(setting["command_id"], []).append(f"{name} {_value(setting['value'])}")
    planned = by_command.pop(None, [])
    for command_id, values in by_command.items():
        yield f"  {', '.join(values)}  ← {command_id}"
    if planned:
        yield f"  {', '.join(planned)}  ← as the run began"


def _command(command: Mapping[str, Any], told: Mapping[str, Any] | None) -> Iterator[str]:
    yield f"← command {command['command_id']}"
    yield f"    {_asked(command['command']['action'])}"
    since = command["since"]
    if since and since["seq"] is not None:
        yield f"    first seen in frame {_place(since)}"
    yield "    " + " → ".join(_answer(answer) for answer in command["answers"])
    yield from _timings(command)
    if command["event"] and not (told and told["event_id"] == command["event"]["event_id"]):
        by = f"rule '{command['rule']}' of policy {command['origin']}" if command["rule"] else command["origin"]
        yield f"  ← {by}"
        yield from _event(command["event"], "  ", command["event"]["revision"])
    else:
        rule = f", rule '{command['rule']}'" if command["rule"] else ""
        known = f": {command['cause']}" if command["cause"] and not told else ""
        yield f"  ← {command['origin']}{rule}{known}"


def _timings(command: Mapping[str, Any]) -> Iterator[str]:
    age, times = command["age_ms"], command["answers"][-1]["timings_ms"] if command["answers"] else {}
    parts = []
    if age:
        parts += [f"data {age[when]:.0f} ms old when it {word}" for when, word in _WHEN.items() if when in age]
    if "total" in times:
        parts.append(f"{times['total']:.1f} ms from arrival to effect (boundary {times['boundary']:.1f}, ")
        parts[-1] += f"devices {times['device']:.1f})"
    if parts:
        yield f"    {', '.join(parts)}"


_WHEN = {"arrived": "arrived", "applied": "took effect"}


def _event(event: Mapping[str, Any], indent: str, acted_on: int | None) -> Iterator[str]:
    who = f"cell {event['parent_id']}"
    if event["daughter_ids"]:
        who += f" into {' and '.join(str(cell) for cell in event['daughter_ids'])}"
    yield (
        f"{indent}← event {event['event_id']}: {event['kind']} of {who}"
        if indent
        else (f"event {event['event_id']}: {event['kind']} of {who}")
    )
    for revision in event["revisions"]:
        mark = "  ← acted on" if revision["revision"] == acted_on else ""
        reason = f" ({revision['reason']})" if revision["reason"] else ""
        yield (
            f"{indent}    revision {revision['revision']}: {revision['status']} after frame "
            f"{revision['emitted_frame']}, confidence {revision['confidence']:.2f}{reason}{mark}"
        )
    for shown in event["frames"]:
        role = " and ".join(word for name, word in _ROLES.items() if shown[name])
        late = f", decided {shown['decided_ms']:.1f} ms after it was in hand" if shown["decided_ms"] is not None else ""
        yield f"{indent}  ← frame {_place(shown)}{f': {role}' if role else ''}{late}"


_ROLES = {"happened": "it happened here", "known": "known after this"}


def _asked(action: Mapping[str, Any]) -> str:
    values = ", ".join(f"{name} {_value(value)}" for name, value in action.items() if _told(name, value))
    return f"{action['kind']} {values}".rstrip()


def _told(name: str, value: Any) -> bool:
    return name not in ("kind", "sequence", "mask_yx_px") and value is not None


def _answer(answer: Mapping[str, Any]) -> str:
    return f"{answer['state']} ({answer['reason']})" if answer["reason"] else str(answer["state"])


def _place(at: Mapping[str, Any]) -> str:
    return f"{at['frame']} of {at['field']}"


def _clock(wall_ns: int) -> str:
    return f"{datetime.fromtimestamp(wall_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"({', '.join(_value(part) for part in value)})"
    return "unknown" if value is None else str(value)
