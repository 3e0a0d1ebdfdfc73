"""grpcio's asyncio API with gzip in both directions."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import grpc

from . import grpcio_
from .grpcio_ import Connection


def serve() -> AbstractAsyncContextManager[str]:
    return grpcio_.serve(compression=grpc.Compression.Gzip)


def connect(address: str) -> AbstractAsyncContextManager[Connection]:
    return grpcio_.connect(address, compression=grpc.Compression.Gzip)
