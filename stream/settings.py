"""Text from outside becomes checked, frozen settings. An unknown key is an error that names the nearest known one."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from stream.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """A table of the configuration: frozen, strict about keys; drivers and stages derive their own options from it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file into plain data. Raises ConfigError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; see deploy/examples for complete configurations") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def parse(model: type[Model], data: Mapping[str, Any], where: str) -> Model:
    """Check plain data against a settings model.

    Raises
    ------
    ConfigError
        Names the key, what is wrong, and for an unknown key the nearest known one.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_sentence(model, item) for item in error.errors())) from None


def _sentence(model: type[BaseModel], item: Any) -> str:
    path = [str(part) for part in item["loc"]]
    key = ".".join(path)
    if item["type"] == "extra_forbidden":
        known = _known_keys(model, path[:-1])
        near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "known keys: " + ", ".join(sorted(known))
        return f"unknown key '{key}'; {hint}"
    said = str(item["msg"]).removeprefix("Value error, ")
    if not key:  # it is about several tables, which it names
        return said
    given = "" if isinstance(item.get("input"), dict) else f" (got {item.get('input')!r})"
    return f"'{key}' {said[0].lower()}{said[1:]}{given}"


def _known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
