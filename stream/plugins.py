"""Finds the classes that a configuration names: an entry point of cytoloop's, or ``file.py:Name``."""

from __future__ import annotations

import difflib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from typing import Any, Literal

from stream.errors import ConfigError

Group = Literal["drivers", "denoisers", "segmenters", "trackers", "dividers", "policies"]

_ONE: dict[Group, str] = {
    "drivers": "driver",
    "denoisers": "denoiser",
    "segmenters": "segmenter",
    "trackers": "tracker",
    "dividers": "divider",
    "policies": "policy",
}


@cache
def _points(group: Group) -> EntryPoints:
    """Read once in a process what is installed: it takes longer than anything else when a chain is made."""
    return entry_points(group=f"cytoloop.{group}")


def names(group: Group) -> list[str]:
    """Return the names that are installed for a group, sorted."""
    return sorted(_points(group).names)


def describe(group: Group) -> dict[str, str]:
    """Return the first line of each installed class's docstring, or what its import is missing, by name."""
    said: dict[str, str] = {}
    for name in names(group):
        try:
            first = (load(group, name).__doc__ or "").strip().partition("\n")[0]
            said[name] = first.partition("; a :class:")[0].rstrip(".") + "."
        except ConfigError as error:
            said[name] = f"not usable: {error}"
    return said


def load(group: Group, name: str, base: Path | None = None) -> Any:
    """Return the class that ``name`` stands for; a relative file is looked for beside ``base``.

    Raises
    ------
    ConfigError
        Nothing has this name (the nearest one is given), or its module cannot be imported (with what is missing).
    """
    with _root_level_kept():
        return _from_file(group, name, base) if ".py:" in name else _installed(group, name)


@contextmanager
def _root_level_kept() -> Iterator[None]:
    """Keep how much a node logs: pymmcore-plus, when it is imported, has every library log to the last detail."""
    level = logging.root.level
    try:
        yield
    finally:
        logging.root.setLevel(level)


def _installed(group: Group, name: str) -> Any:
    found = [point for point in _points(group) if point.name == name]
    if not found:
        known = names(group)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}, or file.py:Name"
        raise ConfigError(f"no {_ONE[group]} is called '{name}'; {hint}")
    try:
        return found[0].load()
    except ImportError as error:
        raise ConfigError(f"{_ONE[group]} '{name}' needs a package that is not installed: {error}") from error


def _from_file(group: Group, name: str, base: Path | None) -> Any:
    file, _, attribute = name.rpartition(":")
    path = (base or Path()) / file
    if not path.is_file():
        raise ConfigError(f"{_ONE[group]} '{name}': no file {path}")
    spec = importlib.util.spec_from_file_location(f"cytoloop_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{_ONE[group]} '{name}': {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up while it is imported
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything while it is imported
        raise ConfigError(f"{_ONE[group]} '{name}': {path} fails on import: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        raise ConfigError(f"{_ONE[group]} '{name}': {path} defines no '{attribute}'")
    return getattr(module, attribute)
