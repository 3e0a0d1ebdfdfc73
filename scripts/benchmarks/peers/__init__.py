"""The runtimes that are compared, as data; each module beside this one makes a runtime offer the echo service.

A runtime is imported only in the worker process that runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Literal, cast

from ..echo import Runtime


@dataclass(frozen=True, slots=True)
class Peer:
    """A runtime on an event loop; `packages` are the import names without which it is left out."""

    name: str
    module: str
    backend: Literal["asyncio", "trio"]
    packages: Sequence[str]
    distribution: str

    def load(self) -> Runtime:
        """Import the runtime."""
        return cast(Runtime, import_module(f"{__name__}.{self.module}"))

    def missing(self) -> list[str]:
        """Name the packages that are not installed here; imports nothing."""
        return [package for package in self.packages if find_spec(package) is None]

    def version(self) -> str:
        """Return the installed version, or say that the source tree is measured as it stands."""
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return "source tree"


ORBIT_ASYNCIO = Peer("orbit_net/asyncio", "orbit", "asyncio", ("orbit_net",), "orbit_net")
ORBIT_TRIO = Peer("orbit_net/trio", "orbit", "trio", ("orbit_net", "trio"), "orbit_net")
GRPCLIB = Peer("grpclib", "grpclib_", "asyncio", ("grpclib",), "grpclib")
GRPCIO = Peer("grpcio aio", "grpcio_", "asyncio", ("grpc",), "grpcio")

ACTOR_ASYNCIO = Peer("orbit_net/asyncio, actors", "orbit_actors", "asyncio", ("orbit_net",), "orbit_net")
ACTOR_TRIO = Peer("orbit_net/trio, actors", "orbit_actors", "trio", ("orbit_net", "trio"), "orbit_net")
ACTOR_GRPCLIB = Peer("grpclib + betterproto2", "grpclib_actors", "asyncio", ("grpclib", "betterproto2"), "grpclib")
LINK_ASYNCIO = Peer("orbit_net/asyncio, link", "orbit_links", "asyncio", ("orbit_net",), "orbit_net")
LINK_TRIO = Peer("orbit_net/trio, link", "orbit_links", "trio", ("orbit_net", "trio"), "orbit_net")
LINK_GRPCLIB = Peer("grpclib + betterproto2, by number", "grpclib_links", "asyncio", ("grpclib",), "grpclib")

TLS_ASYNCIO = Peer("orbit_net/asyncio, TLS", "orbit_tls", "asyncio", ("orbit_net", "cryptography"), "orbit_net")
TLS_TRIO = Peer("orbit_net/trio, TLS", "orbit_tls", "trio", ("orbit_net", "trio", "cryptography"), "orbit_net")
TLS_GRPCLIB = Peer("grpclib, TLS", "grpclib_tls", "asyncio", ("grpclib", "cryptography"), "grpclib")
TLS_GRPCIO = Peer("grpcio aio, TLS", "grpcio_tls", "asyncio", ("grpc", "cryptography"), "grpcio")

GZIP_ASYNCIO = Peer("orbit_net/asyncio, gzip", "orbit_gzip", "asyncio", ("orbit_net",), "orbit_net")
GZIP_TRIO = Peer("orbit_net/trio, gzip", "orbit_gzip", "trio", ("orbit_net", "trio"), "orbit_net")
GZIP_GRPCIO = Peer("grpcio aio, gzip", "grpcio_gzip", "asyncio", ("grpc",), "grpcio")

_ENCODED = (TLS_ASYNCIO, TLS_TRIO, TLS_GRPCLIB, TLS_GRPCIO, GZIP_ASYNCIO, GZIP_TRIO, GZIP_GRPCIO)
_ACTORS = (ACTOR_ASYNCIO, ACTOR_TRIO, ACTOR_GRPCLIB)
_LINKS = (LINK_ASYNCIO, LINK_TRIO, LINK_GRPCLIB)
_ALL = (ORBIT_ASYNCIO, ORBIT_TRIO, GRPCLIB, GRPCIO, *_ACTORS, *_LINKS)
PEERS = {peer.name: peer for peer in _ALL + _ENCODED}
