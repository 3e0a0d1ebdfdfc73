"""What entries of the log say, as JSON in the form of serde's enums, which Orbit-RS reads and writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from orbit_net.errors import CodecError, ConfigurationError, DecodeError, EncodeError
from orbit_net.model import NodeId

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "CoordinatorAssignment",
    "ElectLeader",
    "HeartBeat",
    "NodeJoin",
    "NodeLeave",
    "RaftCommand",
    "UserCommand",
    "decode_command",
    "encode_command",
]


@dataclass(frozen=True, slots=True)
class HeartBeat:
    """Changes nothing: ``"HeartBeat"``."""


@dataclass(frozen=True, slots=True)
class ElectLeader:
    """Names a leader for the application: ``{"ElectLeader": {"key": …, "namespace": …}}``."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class CoordinatorAssignment:
    """Makes a node the coordinator of a transaction."""

    transaction_id: str
    coordinator: NodeId


@dataclass(frozen=True, slots=True)
class NodeJoin:
    """A node that becomes a member, and where it is reached."""

    node_id: NodeId
    address: str = ""


@dataclass(frozen=True, slots=True)
class NodeLeave:
    """A node that is a member no more."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class UserCommand:
    """Any other JSON value: yours."""

    value: Any


RaftCommand: TypeAlias = HeartBeat | ElectLeader | CoordinatorAssignment | NodeJoin | NodeLeave | UserCommand


def encode_command(command: RaftCommand) -> bytes:
    """Return the JSON text of a command; raises :class:`EncodeError` for a value that JSON cannot hold."""
    match command:
        case HeartBeat():
            value: Any = "HeartBeat"
        case ElectLeader(node_id):
            value = {"ElectLeader": _node(node_id)}
        case CoordinatorAssignment(transaction_id, coordinator):
            value = {"CoordinatorAssignment": {"transaction_id": transaction_id, "coordinator": _node(coordinator)}}
        case NodeJoin(node_id, address):
            value = {"NodeJoin": {**_node(node_id), **({"address": address} if address else {})}}
        case NodeLeave(node_id):
            value = {"NodeLeave": _node(node_id)}
        case UserCommand(value):
            pass
        case _:
            raise EncodeError(f"{command!r} is not a RaftCommand")
    try:
        return json.dumps(value, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise EncodeError(f"the command cannot be written as JSON: {error}") from error


def decode_command(data: bytes) -> RaftCommand:
    """Read a command; raises :class:`DecodeError` for what is not JSON, or a known kind with the wrong fields."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise DecodeError(f"{data[:100]!r} is not a command: {error}") from error
    if value == "HeartBeat":
        return HeartBeat()
    if isinstance(value, dict) and len(value) == 1:
        [(kind, fields)] = value.items()
        if kind in _KNOWN:
            try:
                return _KNOWN[kind](fields)
            except (KeyError, TypeError, AttributeError, ConfigurationError, CodecError) as error:
                raise DecodeError(f"{data[:100]!r} is not a {kind}: {error!r}") from error
    return UserCommand(value)


def _node(node_id: NodeId) -> dict[str, str]:
    return {"key": node_id.key, "namespace": node_id.namespace}


def _node_of(fields: dict[str, Any]) -> NodeId:
    return NodeId(fields["key"], fields.get("namespace") or "default")


_KNOWN: dict[str, Callable[[Any], RaftCommand]] = {
    "ElectLeader": lambda fields: ElectLeader(_node_of(fields)),
    "CoordinatorAssignment": lambda fields: CoordinatorAssignment(
        fields["transaction_id"], _node_of(fields["coordinator"])
    ),
    "NodeJoin": lambda fields: NodeJoin(_node_of(fields), fields.get("address", "")),
    "NodeLeave": lambda fields: NodeLeave(_node_of(fields)),
}
