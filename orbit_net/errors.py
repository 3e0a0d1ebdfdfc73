"""Every exception that orbit_net raises, in one tree.

    OrbitError
    ├─ ConfigurationError              a bad setting or address; raised before any I/O
    ├─ NetworkError          retryable
    │  ├─ ConnectError                 no connection could be made
    │  └─ ConnectionLost               an open connection ended
    ├─ OrbitTimeout          retryable also a TimeoutError
    ├─ ClusterError
    │  ├─ NodeNotFound
    │  ├─ AddressableNotFound
    │  └─ LeaseExpired
    ├─ InvocationFailed                the actor answered with an error
    ├─ RpcError                        the outcome of a call; also a grpclib.GRPCError
    ├─ ProtocolError
    │  ├─ LocalProtocolError           our caller broke a rule; the connection is unharmed
    │  └─ RemoteProtocolError          the peer broke a rule; the connection is ending
    ├─ CodecError
    │  ├─ EncodeError
    │  └─ DecodeError
    ├─ StorageError
    ├─ RaftError
    │  ├─ NotLeader
    │  ├─ OutcomeUnknown
    │  └─ ProposalDropped
    ├─ TransactionError
    │  ├─ TransactionAborted           nothing of the transaction takes effect
    │  ├─ TransactionInDoubt           it may take effect or not: ask for its state later
    │  └─ TransactionRefused           an order against the rules, refused with a reason
    └─ InternalError                   a defect of orbit_net itself

``retryable`` tells whether the same operation may succeed when it is tried again later. Exceptions of
anyio, ssl and the operating system never leave this package: they are the ``__cause__`` of one of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "AddressableNotFound",
    "ClusterError",
    "CodecError",
    "ConfigurationError",
    "ConnectError",
    "ConnectionLost",
    "DecodeError",
    "EncodeError",
    "InternalError",
    "InvocationFailed",
    "LeaseExpired",
    "LocalProtocolError",
    "NetworkError",
    "NodeNotFound",
    "NotLeader",
    "OrbitError",
    "OrbitTimeout",
    "OutcomeUnknown",
    "ProposalDropped",
    "ProtocolError",
    "RaftError",
    "RemoteProtocolError",
    "RpcError",
    "StorageError",
    "TransactionAborted",
    "TransactionError",
    "TransactionInDoubt",
    "TransactionRefused",
]

Detail = TypeVar("Detail")

_RETRYABLE = frozenset({Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.RESOURCE_EXHAUSTED})


class OrbitError(Exception):
    """The base of everything that orbit_net raises."""

    retryable: bool = False


class ConfigurationError(OrbitError, ValueError):
    """A setting or an address is not usable; nothing was opened. The text names the value and what is allowed."""


class NetworkError(OrbitError):
    """The network failed, not the peer's application."""

    retryable = True


class ConnectError(NetworkError):
    """No connection to the target could be made."""


class ConnectionLost(NetworkError):
    """An open connection ended while something depended on it."""


class OrbitTimeout(OrbitError, TimeoutError):
    """An operation did not end within its time."""

    retryable = True


class ClusterError(OrbitError):
    """The cluster's membership or directory has no answer."""


class NodeNotFound(ClusterError):
    """No node with this id is known."""


class AddressableNotFound(ClusterError):
    """No node is known to own this actor."""


class LeaseExpired(ClusterError):
    """The lease that an operation stood on has run out."""


class InvocationFailed(OrbitError):
    """The actor answered an invocation with an error; it was reached and did not succeed."""

    def __init__(self, reason: str, *, actor_type: str = "", method: str = "", platform: str = "") -> None:
        where = f"{actor_type}.{method}: " if method else ""
        super().__init__(f"{where}{reason}")
        self.reason = reason
        self.actor_type = actor_type
        self.method = method
        self.platform = platform


class RpcError(GRPCError, OrbitError):
    """A call ended with a status other than OK.

    It is a :class:`grpclib.GRPCError`, so code written for grpclib catches it. ``status``, ``message`` and ``details``
    are what the peer sent, or what this library concluded (see the status mapping in :mod:`orbit_net.status`);
    ``trailing_metadata`` is empty when none arrived. The call is over when it is raised; the channel lives on.

    ``details`` are bytes, or what the channel's status details codec made of them; ``unpack`` returns the messages in
    them, see :attr:`rich_details`.
    """

    def __init__(
        self,
        status: Status,
        message: str | None = None,
        details: Any = None,
        *,
        trailing_metadata: Mapping[str, str | bytes] | None = None,
        unpack: Callable[[RpcError], Sequence[Any]] | None = None,
    ) -> None:
        super().__init__(status, message, details)
        self._unpack = unpack
        self._rich: Sequence[Any] | None = None
        self.trailing_metadata: Mapping[str, str | bytes] = {} if trailing_metadata is None else trailing_metadata

    @property
    def rich_details(self) -> Sequence[Any]:
        """The messages in the details (:mod:`orbit_net.details`), read when first asked for.

        Empty where there are none, or none that can be read; a message of an unknown type is an ``Any``.
        """
        if self._rich is None:
            if isinstance(self.details, (list, tuple)):
                self._rich = self.details
            else:
                self._rich = () if self._unpack is None else self._unpack(self)
        return self._rich

    def detail(self, kind: type[Detail]) -> Detail | None:
        """Return the first of :attr:`rich_details` that is a ``kind``, or None."""
        return next((detail for detail in self.rich_details if isinstance(detail, kind)), None)

    def __str__(self) -> str:
        return f"{self.status.name}: {self.message}" if self.message else self.status.name

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """Whether the status invites another try: UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED."""
        return self.status in _RETRYABLE


class ProtocolError(OrbitError):
    """A rule of HTTP/2 or of gRPC was broken."""


class LocalProtocolError(ProtocolError):
    """Our own side asked for something that the protocol does not allow now; nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; ``error_code`` is what the GOAWAY to it carries."""

    def __init__(self, message: str, error_code: ErrorCodes = ErrorCodes.PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.error_code = error_code


class CodecError(OrbitError):
    """A message could not be turned into bytes or back."""


class EncodeError(CodecError):
    """The message has a value that its type cannot carry."""


class DecodeError(CodecError):
    """The bytes are not a valid message of the expected type."""


class StorageError(OrbitError):
    """Durable storage failed; what was not acknowledged may be lost, nothing acknowledged is."""


class RaftError(OrbitError):
    """The consensus layer could not do what was asked."""


class NotLeader(RaftError):
    """This node does not lead; ``leader`` names the node that does, if it is known."""

    def __init__(self, leader: str | None = None) -> None:
        super().__init__(f"the leader is {leader}" if leader else "no leader is known")
        self.leader = leader


class ProposalDropped(RaftError):
    """The proposal was not accepted; it is certain not to be committed."""


class OutcomeUnknown(RaftError):
    """The proposal was appended, and may be committed or not: ask the state machine."""


class TransactionError(OrbitError):
    """A distributed transaction did not go as it was asked to."""


class TransactionAborted(TransactionError):
    """The transaction is undone everywhere, or will be: nothing of it takes effect. The text says why."""


class TransactionInDoubt(TransactionError):
    """This node cannot tell how the transaction ends: its decision log failed, or it stopped meanwhile.

    The log knows: the coordinator carries out what is in it when it starts again.
    """


class TransactionRefused(TransactionError):
    """An order that cannot be: to an unknown or ended transaction, beyond a limit, or against what was decided."""


class InternalError(OrbitError):
    """An invariant of orbit_net itself is broken: please report it."""
