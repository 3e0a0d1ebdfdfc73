"""The tables that are measured, as data: a new row or a new comparison is a new entry here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .peers import (
    ACTOR_ASYNCIO,
    ACTOR_GRPCLIB,
    ACTOR_TRIO,
    GRPCIO,
    GRPCLIB,
    GZIP_ASYNCIO,
    GZIP_GRPCIO,
    GZIP_TRIO,
    LINK_ASYNCIO,
    LINK_GRPCLIB,
    LINK_TRIO,
    ORBIT_ASYNCIO,
    ORBIT_TRIO,
    TLS_ASYNCIO,
    TLS_GRPCIO,
    TLS_GRPCLIB,
    TLS_TRIO,
    Peer,
)
from .workloads import ACTOR_PING_PONG, ACTOR_PIPELINED, INVOCATION, PING_PONG, PIPELINED, TEXT_UNARY, UNARY, Workload


@dataclass(frozen=True, slots=True)
class Table:
    """Workloads × peers on named `sides`, and which peers (`subjects`) are compared with which (`references`)."""

    name: str
    title: str
    sides: Sequence[str]
    workloads: Sequence[Workload]
    peers: Sequence[Peer]
    subjects: Sequence[str]
    references: Sequence[str]


CALLS = Table(
    name="calls",
    title="CPU time per call, 100-byte payload, raw bytes",
    sides=("client", "server"),
    workloads=(UNARY, PING_PONG, PIPELINED),
    peers=(ORBIT_ASYNCIO, ORBIT_TRIO, GRPCLIB, GRPCIO),
    subjects=(ORBIT_ASYNCIO.name, ORBIT_TRIO.name),
    references=(GRPCLIB.name, GRPCIO.name),
)

ACTORS = Table(
    name="actors",
    title="CPU time per actor message on one OpenStream call, codec included",
    sides=("client", "server"),
    workloads=(ACTOR_PING_PONG, ACTOR_PIPELINED),
    peers=(ACTOR_ASYNCIO, ACTOR_TRIO, ACTOR_GRPCLIB),
    subjects=(ACTOR_ASYNCIO.name, ACTOR_TRIO.name),
    references=(ACTOR_GRPCLIB.name,),
)

TLS = Table(
    name="tls",
    title="CPU time per call over TLS, 100-byte payload, raw bytes",
    sides=("client", "server"),
    workloads=(UNARY, PIPELINED),
    peers=(TLS_ASYNCIO, TLS_TRIO, TLS_GRPCLIB, TLS_GRPCIO),
    subjects=(TLS_ASYNCIO.name, TLS_TRIO.name),
    references=(TLS_GRPCLIB.name, TLS_GRPCIO.name),
)

COMPRESSION = Table(
    name="compression",
    title="CPU time per call with gzip both ways, 10 kB of JSON",
    sides=("client", "server"),
    workloads=(TEXT_UNARY,),
    peers=(GZIP_ASYNCIO, GZIP_TRIO, GZIP_GRPCIO),
    subjects=(GZIP_ASYNCIO.name, GZIP_TRIO.name),
    references=(GZIP_GRPCIO.name,),
)

INVOCATIONS = Table(
    name="invocations",
    title="CPU time per actor invocation over one link, codec and JSON included",
    sides=("client", "server"),
    workloads=(INVOCATION,),
    peers=(LINK_ASYNCIO, LINK_TRIO, LINK_GRPCLIB),
    subjects=(LINK_ASYNCIO.name, LINK_TRIO.name),
    references=(LINK_GRPCLIB.name,),
)

TABLES = {table.name: table for table in (CALLS, TLS, COMPRESSION, ACTORS, INVOCATIONS)}
