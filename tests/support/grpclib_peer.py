"""grpclib itself as the other side. It knows asyncio only, so it runs in a thread with a loop of its own."""

import asyncio
import threading
from contextlib import contextmanager
from queue import SimpleQueue

import anyio.to_thread
from grpclib.server import Server


async def in_thread(script, *arguments):
    """Run the asyncio coroutine function ``script`` in a thread, and return or raise what it does."""
    return await anyio.to_thread.run_sync(lambda: asyncio.run(script(*arguments)), abandon_on_cancel=True)


@contextmanager
def grpclib_server(services, **options):
    """Serve with grpclib on a port chosen by the system, and give the target that reaches it."""
    started = SimpleQueue()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(services, options, started)), daemon=True)
    thread.start()
    port, stop = started.get(timeout=10)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        stop()
        thread.join(timeout=10)


async def _serve(services, options, started):
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    server = Server(services, **options)
    await server.start("127.0.0.1", 0)
    [port] = {socket.getsockname()[1] for listener in [server._server] for socket in listener.sockets}
    started.put((port, lambda: loop.call_soon_threadsafe(stopped.set)))
    await stopped.wait()
    server.close()
