"""The doctor's findings as a person reads them; what is wrong comes last, where the eye is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_KIND = "  {:<15}{:<24}{}"
_CAMERA = (
    "camera", "sensor_px", "binning", "pixel_type", "affine_um", "exposure_ms", "stages", "stage_um", "autofocus",
    "light", "modulator", "channel_group", "channels", "channel", "interval", "devices",
)  # fmt: skip


def in_words(found: Mapping[str, Any]) -> str:
    """Return the findings of :func:`stream.doctor.examine` as lines."""
    return "\n".join(_lines(found))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"cytoloop {found['versions']['packages'].get('cytoloop', 'from source')} on {found['versions']['platform']}"
    yield from (f"  [{extra}] {said}" for extra, said in found["extras"].items())
    if "camera" in found:
        yield from _configured(found)
    yield from (f"warning: {warning}" for warning in found["warnings"])
    yield from (f"problem: {problem}" for problem in found["problems"])
    if not found["problems"]:
        yield "nothing would stop the run" if "camera" in found else "nothing is broken"


def _configured(found: Mapping[str, Any]) -> Iterator[str]:
    yield "rig"
    camera = found["camera"]
    if isinstance(camera, Mapping):
        shown = {name: camera[name] for name in _CAMERA if name in camera} or camera
        yield from _table(shown)
    else:
        yield f"  {camera}"
    for title in ("plan", "limits", "dose", "chain"):
        yield title
        yield from _table(found[title]) if isinstance(found[title], Mapping) else [f"  {found[title]}"]
    yield "feedback"
    for kind, row in found["feedback"].items():
        yield _KIND.format(kind, row["may"], row["why"] or ", ".join(row["within"])).rstrip()
    yield "policies" if found["policies"] else "policies: none"
    for policy in found["policies"]:
        yield from _policy(policy)


def _policy(policy: Any) -> Iterator[str]:
    if not isinstance(policy, Mapping):
        yield f"  {policy}"
        return
    kinds = "anything that feedback may" if policy["sends"] is None else ", ".join(_kinds(policy["sends"]))
    yield f"  {policy['name']} may send {kinds}"
    yield from (f"    {rule}" for rule in policy["rules"])


def _kinds(sends: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(sent["kind"] for sent in sends))


def _table(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if value not in (None, "", (), [], {}):
            yield f"  {name}: {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(inner)}" for name, inner in value.items() if inner not in (None, "", (), []))
    if isinstance(value, list | tuple):
        return (
            f"({', '.join(map(_value, value))})"
            if any(isinstance(v, float | int) for v in value)
            else (", ".join(map(_value, value)))
        )
    return f"{value:g}" if isinstance(value, float) else str(value)
