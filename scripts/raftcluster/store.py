"""The service by which clients reach the store, and a client that finds the leader."""

from __future__ import annotations

import json
from typing import Any

from grpclib.const import Cardinality, Handler
from grpclib.exceptions import GRPCError

from orbit_net.client import Stub
from orbit_net.errors import NotLeader, OutcomeUnknown, ProposalDropped, RaftError
from orbit_net.raft import KeyValueStore, RaftConsensus, ReplicatedKeyValue
from orbit_net.server import Service
from orbit_net.status import Status

_PUT, _GET, _STATUS = (f"/orbit.example.Store/{name}" for name in ("Put", "Get", "Status"))


class JsonCodec:
    """Messages are JSON."""

    __content_subtype__ = "json"

    def encode(self, message: Any, message_type: Any) -> bytes:
        """Write JSON."""
        return json.dumps(message, separators=(",", ":")).encode()

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Read JSON."""
        return json.loads(data)


class StoreService(Service):
    """Put and Get on the leader, Status anywhere. FAILED_PRECONDITION names the leader; UNKNOWN: it may be done."""

    def __init__(self, consensus: RaftConsensus, store: KeyValueStore) -> None:
        self._consensus = consensus
        self._store = ReplicatedKeyValue(consensus, store)

    async def put(self, request: dict[str, Any]) -> int:
        """Set a value."""
        return await _translated(self._store.put(request["key"], request["value"]))

    async def get(self, request: dict[str, Any]) -> Any:
        """Return a value as it is now."""
        return await _translated(self._store.get(request["key"]))

    async def status(self, request: Any) -> dict[str, Any]:
        """Return what the node knows."""
        leader, status = self._consensus.get_leader(), self._consensus.status()
        return {"leader": leader and leader.key, "term": status.term, "applied": status.applied}

    def __mapping__(self) -> dict[str, Handler]:
        """Return the handlers."""
        methods = {_PUT: self.put, _GET: self.get, _STATUS: self.status}
        return {
            path: Handler(self._unary_unary(method), Cardinality.UNARY_UNARY, dict, dict)
            for path, method in methods.items()
        }


async def _translated(answer: Any) -> Any:
    try:
        return await answer
    except NotLeader as error:
        raise GRPCError(Status.FAILED_PRECONDITION, error.leader or "") from error
    except ProposalDropped as error:
        raise GRPCError(Status.ABORTED, str(error)) from error
    except (OutcomeUnknown, RaftError) as error:
        raise GRPCError(Status.UNKNOWN, str(error)) from error


class StoreStub(Stub):
    """Calls a :class:`StoreService`."""

    async def put(self, key: str, value: Any, *, timeout: float) -> int:
        """Set a value."""
        return await self._unary_unary(_PUT, {"key": key, "value": value}, dict, timeout=timeout)

    async def get(self, key: str, *, timeout: float) -> Any:
        """Return a value."""
        return await self._unary_unary(_GET, {"key": key}, dict, timeout=timeout)

    async def status(self, *, timeout: float) -> dict[str, Any]:
        """Return what the node knows."""
        return await self._unary_unary(_STATUS, None, dict, timeout=timeout)
