"""The server that the floods are sent to: a process of its own, so that what it costs can be measured."""

import sys

import anyio

from echo import Echo, RawCodec
from orbit_net.server import PatienceSettings, Server, ServerSettings

BIG = bytes(1_048_576)


class Victim(Echo):
    """An Echo that answers ``big`` with a mebibyte."""

    async def unary(self, request):
        return BIG if request == b"big" else request


async def main():
    """Serve with the default limits, but for the times, which are short."""
    import orbit_net.net.connection as driver

    driver._STALL, driver._FLUSH = 2.0, 1.0
    patience = PatienceSettings(handshake=1.5, frame=1.5, acknowledgement=2.5, stall=1.5)
    async with Server([Victim()], codec=RawCodec(), settings=ServerSettings(patience=patience)) as server:
        [target] = await server.listen("0.0.0.0:0")
        sys.stdout.write(f"{target.rpartition(':')[2]}\n")
        sys.stdout.flush()
        await server.wait_closed()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        import resource

        limit = int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    anyio.run(main, backend=sys.argv[1])
