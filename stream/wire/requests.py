"""What is said on the control link, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from stream.command import Ack, Command, Decision
from stream.errors import Malformed, UnknownSchema
from stream.wire.header import Header, text, tree, unpack
from stream.wire.link import CONTROL_TOPIC
from stream.wire.messages import Alive
from stream.wire.read import read_alive
from stream.wire.size import require_readable

QUEUED = 1024
"""How many requests, answers or acks may wait at either end."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A node is ready: models loaded, compiled code warm.

    ``instance`` is one start of the node: another one is known by it, however soon and whatever it says first. Empty
    from a sender of schema 1.0.
    """

    node: str
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """Anything else that is asked of a rig, as ``status``, with its plain data."""

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)


Content = Command | Decision | Ready | Alive | Query


@dataclass(frozen=True, slots=True)
class Request:
    """What one peer says, and to whom and what the answer goes."""

    sender: bytes
    name: str
    request_id: str
    content: Content


def read_note(parts: list[bytes]) -> Header:
    """Return the header of a control message. Raises Malformed, UnknownSchema."""
    if len(parts) != 2 or parts[0] != CONTROL_TOPIC:
        raise Malformed(f"a control message has the topic '!' and a header, not {len(parts)} parts")
    return unpack(parts[1])


def request_id(parts: list[bytes]) -> str:
    """Return the id of a request that could not be understood otherwise, so that its sender learns of it."""
    try:
        return text(read_note(parts), "id")
    except (Malformed, UnknownSchema):
        return ""


def read_request(sender: bytes, parts: list[bytes]) -> Request:
    """Return what a peer says. Raises Malformed, UnknownSchema."""
    header = read_note(parts)
    return Request(sender, text(header, "name"), text(header, "id"), _read_content(header))


def _read_content(header: Header) -> Content:
    kind = text(header, "kind")
    if kind == "command":
        said = text(header, "command")
        require_readable(said)
        try:
            return Command.model_validate_json(said)
        except ValidationError as error:
            raise Malformed(f"not a command: {_first_fault(error)}") from error
        except Exception as error:  # useq lays plans out as it reads them: the edge to what it calls raises anything
            raise Malformed(f"not a command: {type(error).__name__}: {error}") from error
    if kind == "decision":
        try:
            return Decision.model_validate_json(text(header, "decision"))
        except ValidationError as error:
            raise Malformed(f"not a decision: {_first_fault(error)}") from error
    if kind == "ready":
        return Ready(text(header, "node"), text(header, "instance") if "instance" in header else "")
    if kind == "alive":
        return read_alive(header)
    if kind == "query":
        return Query(text(header, "query"), tree(header, "data"))
    raise Malformed(f"a request is a command, decision, ready, alive or query, not {kind!r}")


def read_ack(said: str) -> Ack:
    """Return an ack from its JSON. Raises Malformed."""
    try:
        return Ack.model_validate_json(said)
    except ValidationError as error:
        raise Malformed(f"not an ack: {_first_fault(error)}") from error


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    return f"{'.'.join(str(step) for step in fault['loc']) or 'text'}: {fault['msg']}"
