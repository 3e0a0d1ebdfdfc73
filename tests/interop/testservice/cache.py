"""A caching proxy for cacheable_unary, on our server and channel.

A request is known again by its bytes. It comes by POST: gRPC has given up the GET of the description, and RFC 9111 §3
leaves it to a cache which methods it understands.
"""

import re
import time
from contextlib import asynccontextmanager

from grpclib.const import Cardinality, Handler

from echo import RawCodec
from orbit_net.client import Channel
from orbit_net.server import Server, Service, current_call

_PATH = "/grpc.testing.TestService/CacheableUnaryCall"
_MAX_AGE = re.compile(r"max-age=(\d+)").search


class CachingProxy(Service):
    """Answers from memory while ``cache-control`` of the first answer allows; ``forwarded`` counts the others."""

    def __init__(self, channel):
        self._channel = channel
        self._kept = {}
        self.forwarded = 0

    async def _cacheable(self, request):
        reply, control, until = self._kept.get(request, (b"", "", 0.0))
        if time.monotonic() >= until:
            reply, control = await self._forward(request)
            if age := _MAX_AGE(control):
                self._kept[request] = reply, control, time.monotonic() + float(age[1])
        await current_call().send_initial_metadata(metadata={"cache-control": control})
        return reply

    async def _forward(self, request):
        self.forwarded += 1
        address = {"x-user-ip": current_call().metadata["x-user-ip"]}
        async with self._channel.request(_PATH, Cardinality.UNARY_UNARY, bytes, bytes, metadata=address) as call:
            await call.send_message(request)
            reply = await call.recv_message()
        return reply, call.initial_metadata.get("cache-control", "")

    def __mapping__(self):
        return {_PATH: Handler(self._unary_unary(self._cacheable), Cardinality.UNARY_UNARY, bytes, bytes)}


@asynccontextmanager
async def caching_proxy(target, *, channel=None, server=None):
    """Give ``(proxy, target)`` before the server at ``target``; ``channel`` and ``server`` are further keywords."""
    async with Channel(target, codec=RawCodec(), **(channel or {})) as backend:
        proxy = CachingProxy(backend)
        async with Server([proxy], codec=RawCodec(), **(server or {})) as front:
            [address] = await front.listen("127.0.0.1:0")
            yield proxy, address
