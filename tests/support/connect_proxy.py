"""A small HTTP proxy that opens tunnels, on a real port; it can also refuse, talk nonsense, or say nothing."""

from contextlib import asynccontextmanager

import anyio

__all__ = ["TunnelProxy", "proxy"]

OPENED = b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n"


class TunnelProxy:
    """Keeps the requests as they came; ``answer`` is what is said to the next ones.

    A tunnel leads to ``routes[authority]``, or to the only route there is. ``glue`` sends the answer together with the
    first bytes of the server, ``bytewise`` sends it in pieces of a byte. An answer that opens no tunnel is followed by
    the end of the connection, None by nothing.
    """

    def __init__(self, routes, *, answer=OPENED, glue=False, bytewise=False):
        self.routes = routes
        self.answer = answer
        self.glue = glue
        self.bytewise = bytewise
        self.requests = []
        self.port = None

    @property
    def url(self):
        """What a client is given."""
        return f"http://127.0.0.1:{self.port}"

    def url_with(self, credentials):
        """Return the same with a user and a password."""
        return f"http://{credentials}@127.0.0.1:{self.port}"

    @property
    def asked(self):
        """The authorities that were asked for."""
        return [request.split()[1].decode() for request in self.requests]

    async def serve(self, client):
        """Serve one connection."""
        async with client:
            try:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += await client.receive()
                self.requests.append(request)
                if self.answer is None:
                    await client.receive()
                elif b" 200" in self.answer:
                    await self._tunnel(client, request)
                else:
                    await client.send(self.answer)
                    await client.send_eof()
                    await client.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

    async def _tunnel(self, client, request):
        authority = request.split()[1].decode()
        host, port = self.routes.get(authority) or next(iter(self.routes.values()))
        async with await anyio.connect_tcp(host, port) as server:
            if self.glue:
                # The other end speaks first here: it was told that a client is there.
                await client.send(self.answer + await server.receive())
            elif self.bytewise:
                for byte in self.answer:
                    await client.send(bytes([byte]))
                    await anyio.lowlevel.checkpoint()
            else:
                await client.send(self.answer)
            async with anyio.create_task_group() as ways:

                async def carry(source, target):
                    try:
                        while True:
                            await target.send(await source.receive())
                    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                        ways.cancel_scope.cancel()

                ways.start_soon(carry, client, server)
                await carry(server, client)


@asynccontextmanager
async def proxy(target=None, **options):
    """Give a :class:`TunnelProxy` whose tunnels lead to ``target`` (``host:port``)."""
    routes = {}
    if target is not None:
        host, _, port = target.rpartition(":")
        routes["*"] = host, int(port)
    given = TunnelProxy(routes, **options)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        given.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.start_soon(listener.serve, given.serve)
        yield given
        tasks.cancel_scope.cancel()
