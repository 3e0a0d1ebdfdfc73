"""Between the domain's values and protobuf messages: names, times, leases and nodes.

Every converter has ``to_proto`` and ``from_proto``, inverse to each other. ``from_proto`` raises
:class:`~orbit_net.errors.DecodeError` for a part that is missing or invalid; its text begins with the path
of that part, as ``NodeInfoProto.lease.expires_at``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from orbit_net.errors import ConfigurationError, DecodeError, EncodeError
from orbit_net.model.info import NodeCapabilities, NodeInfo, NodeStatus
from orbit_net.model.key import Int32Key, Int64Key, NoKey, StringKey
from orbit_net.model.lease import AddressableLease, NodeLease
from orbit_net.model.node import NodeId
from orbit_net.model.reference import AddressableReference, NamespacedAddressableReference
from orbit_net.proto.google.protobuf import Timestamp
from orbit_net.proto.orbit.shared import (
    AddressableLeaseProto,
    AddressableReferenceProto,
    KeyProto,
    NamespacedAddressableReferenceProto,
    NodeCapabilitiesProto,
    NodeIdProto,
    NodeInfoProto,
    NodeLeaseProto,
    NodeStatusProto,
    NoKeyProto,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import betterproto2

    from orbit_net.model.key import Key

__all__ = [
    "AddressableLeaseConverter",
    "AddressableReferenceConverter",
    "KeyConverter",
    "NamespacedAddressableReferenceConverter",
    "NodeCapabilitiesConverter",
    "NodeIdConverter",
    "NodeInfoConverter",
    "NodeLeaseConverter",
    "NodeStatusConverter",
    "TimestampConverter",
    "built",
    "required",
]

Proto = TypeVar("Proto")
Value = TypeVar("Value")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND: Final = int((datetime.max.replace(tzinfo=UTC) - _EPOCH).total_seconds())
_FIRST_SECOND: Final = int((datetime.min.replace(tzinfo=UTC) - _EPOCH).total_seconds())


def required(field: str, convert: Callable[[Proto], Value], part: Proto | None) -> Value:
    """Convert the part of a message at ``field``; what is wrong inside it is told with the whole path."""
    if part is None:
        raise DecodeError(f"{field}: it is missing")
    try:
        return convert(part)
    except DecodeError as error:
        # The inner path begins with the type of the part, which the outer field says already.
        path, colon, reason = str(error).partition(":")
        inner = "".join(path.partition(".")[1:])
        raise DecodeError(f"{field}{inner}{colon}{reason}") from error


def built(field: str, build: Callable[[], Value]) -> Value:
    """Make a value whose own checks may refuse; the refusal names ``field``."""
    try:
        return build()
    except ConfigurationError as error:
        raise DecodeError(f"{field}: {error}") from error


class TimestampConverter:
    """Aware ``datetime`` ↔ ``google.protobuf.Timestamp``. What is finer than a microsecond is cut off."""

    @staticmethod
    def to_proto(moment: datetime) -> Timestamp:
        """Return the message; raises :class:`EncodeError` for a datetime without a time zone."""
        if moment.utcoffset() is None:
            raise EncodeError(f"the time {moment!r} does not name its time zone, so it is no moment")
        since = moment - _EPOCH
        return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)

    @staticmethod
    def from_proto(message: Timestamp) -> datetime:
        """Return the moment in UTC; nothing is invented for seconds or nanos outside their range."""
        if not 0 <= message.nanos <= 999_999_999:
            raise DecodeError(f"Timestamp.nanos: it is {message.nanos}; it must be from 0 to 999999999")
        if not _FIRST_SECOND <= message.seconds <= _LAST_SECOND:
            raise DecodeError(f"Timestamp.seconds: it is {message.seconds}; it must be within the years 1 to 9999")
        return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1_000)


def _moment(value: datetime) -> datetime:
    """Check a time that betterproto2 has unwrapped from its Timestamp."""
    if value.utcoffset() is None:
        raise DecodeError("Timestamp: it does not name its time zone")
    return value


class KeyConverter:
    """:data:`Key` ↔ ``KeyProto``."""

    @staticmethod
    def to_proto(key: Key) -> KeyProto:
        """Return the message for ``key``."""
        match key:
            case StringKey():
                return KeyProto(string_key=key.value)
            case Int32Key():
                return KeyProto(int32_key=key.value)
            case Int64Key():
                return KeyProto(int64_key=key.value)
            case NoKey():
                return KeyProto(no_key=NoKeyProto())

    @staticmethod
    def from_proto(message: KeyProto) -> Key:
        """Return the key that ``message`` holds."""
        if message.string_key is not None:
            return StringKey(message.string_key)
        if message.int64_key is not None:
            return built("KeyProto.int64_key", lambda: Int64Key(message.int64_key or 0))
        if message.int32_key is not None:
            return built("KeyProto.int32_key", lambda: Int32Key(message.int32_key or 0))
        if message.no_key is not None:
            return NoKey()
        raise DecodeError("KeyProto.key: none of its forms is set")


class NodeIdConverter:
    """:class:`NodeId` ↔ ``NodeIdProto``."""

    @staticmethod
    def to_proto(node_id: NodeId) -> NodeIdProto:
        """Return the message for ``node_id``."""
        return NodeIdProto(key=node_id.key, namespace=node_id.namespace)

    @staticmethod
    def from_proto(message: NodeIdProto) -> NodeId:
        """Return the id that ``message`` holds."""
        return built("NodeIdProto.key" if not message.key else "NodeIdProto", lambda: _node_id(message))


def _node_id(message: NodeIdProto) -> NodeId:
    return NodeId(message.key, message.namespace)


class AddressableReferenceConverter:
    """:class:`AddressableReference` ↔ ``AddressableReferenceProto``."""

    @staticmethod
    def to_proto(reference: AddressableReference) -> AddressableReferenceProto:
        """Return the message for ``reference``."""
        key = KeyConverter.to_proto(reference.key)
        return AddressableReferenceProto(addressable_type=reference.addressable_type, key=key)

    @staticmethod
    def from_proto(message: AddressableReferenceProto) -> AddressableReference:
        """Return the reference that ``message`` holds."""
        key = required("AddressableReferenceProto.key", KeyConverter.from_proto, message.key)
        if not message.addressable_type:
            raise DecodeError("AddressableReferenceProto.addressable_type: it is empty")
        return AddressableReference(message.addressable_type, key)


class NamespacedAddressableReferenceConverter:
    """:class:`NamespacedAddressableReference` ↔ ``NamespacedAddressableReferenceProto``."""

    @staticmethod
    def to_proto(named: NamespacedAddressableReference) -> NamespacedAddressableReferenceProto:
        """Return the message for ``named``."""
        reference = AddressableReferenceConverter.to_proto(named.addressable_reference)
        return NamespacedAddressableReferenceProto(namespace=named.namespace, addressable_reference=reference)

    @staticmethod
    def from_proto(message: NamespacedAddressableReferenceProto) -> NamespacedAddressableReference:
        """Return the reference that ``message`` holds."""
        field = "NamespacedAddressableReferenceProto.addressable_reference"
        convert = AddressableReferenceConverter.from_proto
        reference = required(field, convert, message.addressable_reference)
        return NamespacedAddressableReference(message.namespace, reference)


class AddressableLeaseConverter:
    """:class:`AddressableLease` ↔ ``AddressableLeaseProto``."""

    @staticmethod
    def to_proto(lease: AddressableLease) -> AddressableLeaseProto:
        """Return the message for ``lease``."""
        return AddressableLeaseProto(
            reference=AddressableReferenceConverter.to_proto(lease.reference),
            node_id=NodeIdConverter.to_proto(lease.node_id),
            expires_at=lease.expires_at,
            renew_at=lease.renew_at,
        )

    @staticmethod
    def from_proto(message: AddressableLeaseProto) -> AddressableLease:
        """Return the lease that ``message`` holds."""
        name = "AddressableLeaseProto"
        reference = required(f"{name}.reference", AddressableReferenceConverter.from_proto, message.reference)
        node_id = required(f"{name}.node_id", NodeIdConverter.from_proto, message.node_id)
        expires_at = required(f"{name}.expires_at", _moment, message.expires_at)
        renew_at = required(f"{name}.renew_at", _moment, message.renew_at)
        return built(f"{name}.renew_at", lambda: AddressableLease(reference, node_id, expires_at, renew_at))


class NodeLeaseConverter:
    """:class:`NodeLease` ↔ ``NodeLeaseProto``."""

    @staticmethod
    def to_proto(lease: NodeLease) -> NodeLeaseProto:
        """Return the message for ``lease``."""
        return NodeLeaseProto(
            node_id=NodeIdConverter.to_proto(lease.node_id),
            expires_at=lease.expires_at,
            renew_at=lease.renew_at,
            challenge_token=lease.challenge_token,
        )

    @staticmethod
    def from_proto(message: NodeLeaseProto) -> NodeLease:
        """Return the lease that ``message`` holds."""
        node_id = required("NodeLeaseProto.node_id", NodeIdConverter.from_proto, message.node_id)
        expires_at = required("NodeLeaseProto.expires_at", _moment, message.expires_at)
        renew_at = required("NodeLeaseProto.renew_at", _moment, message.renew_at)
        token = message.challenge_token
        return built("NodeLeaseProto.renew_at", lambda: NodeLease(node_id, expires_at, renew_at, token))


class NodeCapabilitiesConverter:
    """:class:`NodeCapabilities` ↔ ``NodeCapabilitiesProto``."""

    @staticmethod
    def to_proto(capabilities: NodeCapabilities) -> NodeCapabilitiesProto:
        """Return the message for ``capabilities``."""
        return NodeCapabilitiesProto(
            addressable_types=list(capabilities.addressable_types),
            max_addressables=capabilities.max_addressables,
            tags=dict(capabilities.tags),
        )

    @staticmethod
    def from_proto(message: NodeCapabilitiesProto) -> NodeCapabilities:
        """Return the capabilities that ``message`` holds."""
        types, most, tags = tuple(message.addressable_types), message.max_addressables, message.tags
        return built("NodeCapabilitiesProto", lambda: NodeCapabilities(types, most, tags))


class NodeStatusConverter:
    """:class:`NodeStatus` ↔ ``NodeStatusProto``."""

    @staticmethod
    def to_proto(status: NodeStatus) -> NodeStatusProto:
        """Return the enum's value for ``status``."""
        return NodeStatusProto(int(status))

    @staticmethod
    def from_proto(message: NodeStatusProto) -> NodeStatus:
        """Return the status; an unknown number is refused, for a node in an unknown state must get no work."""
        return number_of(NodeStatus, "NodeStatusProto", message)


Number = TypeVar("Number", bound=int)


def number_of(kind: type[Number], name: str, message: betterproto2.Enum) -> Number:
    """Return the member of our enum with the number of the wire's; raises :class:`DecodeError` for an unknown one."""
    try:
        return kind(int(message))
    except ValueError:
        raise DecodeError(f"{name}: there is no value with the number {int(message)}") from None


class NodeInfoConverter:
    """:class:`NodeInfo` ↔ ``NodeInfoProto``."""

    @staticmethod
    def to_proto(info: NodeInfo) -> NodeInfoProto:
        """Return the message for ``info``."""
        return NodeInfoProto(
            id=NodeIdConverter.to_proto(info.id),
            url=info.url,
            port=info.port,
            capabilities=NodeCapabilitiesConverter.to_proto(info.capabilities),
            status=NodeStatusConverter.to_proto(info.status),
            lease=None if info.lease is None else NodeLeaseConverter.to_proto(info.lease),
        )

    @staticmethod
    def from_proto(message: NodeInfoProto) -> NodeInfo:
        """Return the node that ``message`` holds; capabilities that were left out are none."""
        node_id = required("NodeInfoProto.id", NodeIdConverter.from_proto, message.id)
        offered = message.capabilities or NodeCapabilitiesProto()
        capabilities = required("NodeInfoProto.capabilities", NodeCapabilitiesConverter.from_proto, offered)
        status = required("NodeInfoProto.status", NodeStatusConverter.from_proto, message.status)
        lease = message.lease and required("NodeInfoProto.lease", NodeLeaseConverter.from_proto, message.lease)
        if not message.url:
            raise DecodeError("NodeInfoProto.url: it is empty")
        return built(
            "NodeInfoProto.lease" if 0 < message.port < 65_536 else "NodeInfoProto.port",
            lambda: NodeInfo(node_id, message.url, message.port, capabilities, status, lease or None),
        )
