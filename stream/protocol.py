"""A protocol: what a rig takes when nobody asks for anything else, as a ``useq.MDASequence`` read from a file.

useq ignores keys that it does not know and quietly picks another plan where some are missing; here every key must be
one that was used, and what this rig's scheduler cannot keep is an error before anything moves.
"""

from __future__ import annotations

import difflib
import json
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import lcm
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from useq import MDASequence, Position, RandomPoints, WellPlatePlan

from stream.errors import ConfigError

_OPEN_AXES = {"c", "z", "g"}
_LONGEST_CYCLE = 120


def read_protocol(path: Path) -> MDASequence:
    """Read a YAML, JSON or TOML file; its name is kept in the sequence's ``metadata``.

    Raises
    ------
    ConfigError
        In one line: the file cannot be read, a key is unknown or wrong, or the rig could not keep the protocol.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"protocol {path}: no such file; see deploy/examples/protocols") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"protocol {path}: cannot be read: {error}") from error
    data = _decoded(text, path)
    if not isinstance(data, dict):
        raise ConfigError(f"protocol {path}: holds {type(data).__name__}, not the keys of a useq.MDASequence")
    sequence = as_protocol(data, f"protocol {path}")
    return sequence.replace(metadata={"file": path.name, **sequence.metadata})


def as_protocol(data: Mapping[str, Any], where: str) -> MDASequence:
    """Check plain data and return the sequence. Raises ConfigError."""
    for problem in _unknown(data, MDASequence, ""):
        raise ConfigError(f"{where}: {problem}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            sequence = MDASequence.model_validate(_with_tuples(data))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_sentence(error)}") from None
    except (UserWarning, ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {_one_line(error)}") from None
    for problem in (*_unused(data, sequence, ""), *infeasible(sequence)):
        raise ConfigError(f"{where}: {problem}")
    return sequence


def infeasible(sequence: MDASequence) -> Iterator[str]:
    """Yield what of a useq sequence cannot be kept when positions have schedules of their own."""
    order = sequence.axis_order
    early = [axis for axis in order[: order.index("t")] if axis in _OPEN_AXES] if "t" in order else []
    if sequence.time_plan is not None and early:
        yield f"'axis_order' {''.join(order)}: time must come before {', '.join(early)}"
    used = {"p": sequence.stage_positions, "c": sequence.channels, "z": sequence.z_plan, "g": sequence.grid_plan}
    left_out = [axis for axis, plan in {**used, "t": sequence.time_plan}.items() if plan and axis not in order]
    if left_out:
        yield f"'axis_order' {''.join(order)} leaves out {', '.join(left_out)}, which the protocol plans"
    if sequence.setup is not None:
        yield "'setup' is not honoured; set properties in [camera.options] properties"
    held = [axis for axis in sequence.keep_shutter_open_across if axis not in _OPEN_AXES]
    if held:
        yield f"'keep_shutter_open_across' {', '.join(held)}: light stays on only across c, z and g"
    for number, position in enumerate(positions_of(sequence)):
        where, inner = f"'stage_positions.{number}", position.sequence
        if inner is not None and (inner.time_plan is not None or inner.stage_positions):
            yield f"{where}.sequence' may have channels, z_plan, grid_plan and autofocus_plan only"
        if (position.x is None) != (position.y is None):
            yield f"{where}' must name both x and y, or neither"
    yield from by_chance(sequence)
    if (cycle := cycle_of(sequence)) > _LONGEST_CYCLE:
        yield f"'channels' acquire_every repeat only after {cycle} time points; at most {_LONGEST_CYCLE}"
    if sequence.time_plan is not None:
        yield from _bad_times(sequence)


def by_chance(sequence: MDASequence) -> Iterator[str]:
    """Yield what would lie elsewhere each time that it is laid out: what is taken must be what was checked."""
    points = getattr(sequence.stage_positions, "well_points_plan", None)
    for name, plan in {"grid_plan": sequence.grid_plan, "well_points_plan": points}.items():
        if isinstance(plan, RandomPoints) and plan.random_seed is None:
            yield f"'{name}' has random points; give it a random_seed, so that they lie where they were checked"
    for part in inner_of(sequence):
        yield from by_chance(part)


def inner_of(sequence: MDASequence) -> tuple[MDASequence, ...]:
    """Return the sequences that positions have of their own; those of a well plate have none."""
    stops = sequence.stage_positions
    return () if isinstance(stops, WellPlatePlan) else tuple(s.sequence for s in stops if s.sequence is not None)


def positions_of(sequence: MDASequence) -> tuple[Position, ...]:
    """Return the stage positions, of a well plate too."""
    return tuple(sequence.stage_positions)


def cycle_of(sequence: MDASequence) -> int:
    """Return after how many time points the choice of channels repeats."""
    inner = [position.sequence for position in positions_of(sequence) if position.sequence is not None]
    return lcm(*(channel.acquire_every for part in (sequence, *inner) for channel in part.channels))


def times_ms(sequence: MDASequence) -> tuple[float, ...]:
    """Return when each time point begins, from the first one on."""
    return tuple(seconds * 1e3 for seconds in sequence.time_plan) if sequence.time_plan is not None else (0.0,)


def positions_um(sequence: MDASequence) -> tuple[tuple[float, float, float], ...]:
    """Return all positions where each states x, y and z; else nothing."""
    places = [(p.x, p.y, p.z) for p in positions_of(sequence)]
    known = tuple((x, y, z) for x, y, z in places if x is not None and y is not None and z is not None)
    return known if len(known) == len(places) else ()


def _decoded(text: str, path: Path) -> Any:
    try:
        if path.suffix.lower() == ".toml":
            return tomllib.loads(text)
        if path.suffix.lower() == ".json":
            return json.loads(text)
        if path.suffix.lower() in (".yaml", ".yml"):
            import yaml

            return yaml.safe_load(text)
    except Exception as error:  # each decoder has a tree of errors of its own, and all mean the same
        raise ConfigError(f"protocol {path}: not {path.suffix[1:].upper()}: {_one_line(error)}") from None
    raise ConfigError(f"protocol {path}: its name must end in .yaml, .json or .toml")


def _with_tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    """Write positions as useq takes them: text formats know no tuples."""
    places = data.get("stage_positions")
    if not isinstance(places, list):
        return dict(data)
    return {**data, "stage_positions": [tuple(p) if isinstance(p, list) else p for p in places]}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a value of this type may become."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _unknown(data: Any, annotation: Any, path: str) -> Iterator[str]:
    """Yield a sentence for each key that no model at its place knows."""
    models = list(_models(annotation))
    if isinstance(data, list):
        for number, item in enumerate(data):
            yield from _unknown(item, annotation, f"{path}{number}.")
    if not isinstance(data, Mapping) or not models:
        return
    known = {name for model in models for name in model.model_fields}
    for key, value in data.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1, 0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(sorted(known))}"
            yield f"unknown key '{path}{key}'; {hint}"
            continue
        for model in models:
            if key in model.model_fields and path.count(".") < 6:
                problems = list(_unknown(value, model.model_fields[key].annotation, f"{path}{key}."))
                if len(problems) == 0:
                    break
        else:
            yield from problems


def _unused(data: Any, read: Any, path: str) -> Iterator[str]:
    """Yield a sentence for each key that useq left out because it chose another kind of plan."""
    if isinstance(data, list) and isinstance(read, list | tuple):
        for number, (item, value) in enumerate(zip(data, read, strict=False)):
            yield from _unused(item, value, f"{path}{number}.")
    if not isinstance(data, Mapping) or not isinstance(read, BaseModel):
        return
    fields = type(read).model_fields
    for key, value in data.items():
        if key not in fields:
            yield f"'{path}{key}' does not go with {', '.join(k for k in data if k != key)}: {type(read).__name__}"
        else:
            yield from _unused(value, getattr(read, key), f"{path}{key}.")


def _sentence(error: ValidationError) -> str:
    """Return the one problem that a person would name: of all the plans that it is not, the nearest."""
    branches: dict[tuple[Any, ...], list[Any]] = {}
    for item in error.errors():
        plan = next((part for part in item["loc"] if isinstance(part, str) and part[:1].isupper()), "")
        branches.setdefault((item["loc"][0], plan), []).append(item)
    best = min(branches.values(), key=lambda items: (sum(i["type"] == "missing" for i in items), len(items)))
    first = best[0]
    key = ".".join(str(part) for part in first["loc"] if not str(part)[:1].isupper() and "(" not in str(part))
    given = f" (got {first['input']!r})" if first["type"] != "missing" else ""
    return f"'{key}' {first['msg'][:1].lower()}{first['msg'][1:]}{given}"


def _bad_times(sequence: MDASequence) -> Iterator[str]:
    try:
        times = times_ms(sequence)
    except (ArithmeticError, ValueError) as error:
        yield f"'time_plan' cannot be laid out: {_one_line(error)}"
        return
    if not times or any(later < earlier for earlier, later in pairwise(times)):
        yield "'time_plan' must have time points that follow each other"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
