"""grpclib over TLS."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from ..certificate import CERTIFICATE, KEY, issued
from . import grpclib_
from .grpclib_ import Connection


@asynccontextmanager
async def serve() -> AsyncGenerator[str, None]:
    with issued() as folder:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
        context.set_alpn_protocols(["h2"])
        async with grpclib_.serve(context) as address:
            yield f"{address}|{folder}"


def connect(address: str) -> AbstractAsyncContextManager[Connection]:
    target, _, folder = address.partition("|")
    context = ssl.create_default_context(cafile=f"{folder}/{CERTIFICATE}")
    context.set_alpn_protocols(["h2"])
    return grpclib_.connect(target, context)
