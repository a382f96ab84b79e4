"""Finds the policies that ``[feedback] policies`` names."""

from __future__ import annotations

from pathlib import Path

from stream.errors import ConfigError
from stream.feedback.rules import RulesPolicy
from stream.plugins import load
from stream.stages import Policy


def load_policy(spec: str, base_dir: Path) -> tuple[str, Policy]:
    """Return a policy and its name for commands, metrics and logs.

    Parameters
    ----------
    spec
        A policy file (``.toml``), an entry point of ``cytoloop.policies``, or ``file.py:Name``.
    base_dir
        Where relative files are looked for: the configuration's folder.

    Raises
    ------
    ConfigError
        It cannot be found, read or made, or is no policy.
    """
    if spec.endswith(".toml"):
        path = base_dir / spec
        return path.stem, RulesPolicy.read(path)
    made = load("policies", spec, base_dir)
    if made is RulesPolicy:
        raise ConfigError(f"policy '{spec}' is read from a file: name the .toml file itself")
    try:
        policy = made()
    except Exception as error:  # a user's class: whatever it raises, say whose it was
        raise ConfigError(f"policy '{spec}' cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(policy, Policy):
        raise ConfigError(f"policy '{spec}' is no policy: it needs start() and decide(state, event)")
    return spec.rpartition(":")[2], policy
