"""Prove that orbit_net runs without compiled code: ``python scripts/pure.py WHEEL`` (``make pure``).

Installs the wheel and what it needs, with trio, into a new environment, from wheels that hold no compiled code. There,
a server process and a client process talk over loopback TCP, on asyncio and on trio. Each then looks through its own
modules, and fails if one is compiled and not Python's own.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

LOOPS = ("asyncio", "trio")
CALLS = 100
ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run the part of this file that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="the wheel of orbit_net")
    parser.add_argument("--serve", metavar="LOOP", choices=LOOPS, help=argparse.SUPPRESS)
    parser.add_argument("--call", nargs=2, metavar=("LOOP", "ADDRESS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return _run_server(options.serve)
    if options.call:
        return _run_client(*options.call)
    return _prove(options.wheel)


# --- the parent: an environment, then pairs of processes


def _prove(wheel: Path) -> int:
    with tempfile.TemporaryDirectory() as directory:
        python = _environment(Path(directory), wheel.resolve())
        for loop in LOOPS:
            _talk(python, loop)
    print(f"a client and a server talked on {' and '.join(LOOPS)}; neither loaded compiled code but Python's own")
    return 0


def _environment(directory: Path, wheel: Path) -> Path:
    """Make a virtual environment from pure wheels only and return its interpreter."""
    wheels = directory / "wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    # For these tags pip takes no wheel that is built for an interpreter, an ABI or a platform.
    pure = ["--only-binary=:all:", "--platform=any", "--implementation=py", "--abi=none"]
    subprocess.run(
        [*pip, "download", *pure, f"--dest={wheels}", f"--constraint={ROOT / 'constraints.txt'}", f"{wheel}[trio]"],
        check=True,
    )
    found = sorted(wheels.iterdir())
    compiled = [path.name for path in found if not path.name.endswith("-none-any.whl")]
    if compiled:
        sys.exit(f"not pure: {', '.join(compiled)}")
    venv = directory / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = venv / "bin" / "python"
    subprocess.run([*pip, f"--python={python}", "install", "--no-index", "--no-deps", *found], check=True)
    print(f"installed {len(found)} pure wheels: {', '.join(path.name.split('-')[0] for path in found)}", flush=True)
    return python


def _talk(python: Path, loop: str) -> None:
    # -I: only the new environment and the standard library can be imported.
    this = [str(python), "-I", __file__, "-"]
    with subprocess.Popen(
        [*this, f"--serve={loop}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            client = subprocess.run([*this, "--call", loop, address], timeout=60, check=False)
            server.stdin.close()
            status = server.wait(timeout=60)
        except BaseException:
            server.kill()
            raise
    if client.returncode or status:
        sys.exit(f"on {loop}, the client ended with {client.returncode} and the server with {status}")


# --- the children


def compiled_modules() -> Iterator[str]:
    """Name each loaded module that is compiled and not part of Python, with its file."""
    paths = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    paths += [Path(path) for path in [sysconfig.get_config_var("DESTSHARED")] if path]
    for name, module in sorted(sys.modules.items()):
        file = _file(module)
        if file and file.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):
            packages = {"site-packages", "dist-packages"} & set(Path(file).parts)
            if packages or not any(Path(file).is_relative_to(path) for path in paths):
                yield f"{name} ({file})"


def _file(module: ModuleType) -> str | None:
    spec = getattr(module, "__spec__", None)
    return getattr(module, "__file__", None) or getattr(spec, "origin", None)


def _verdict(side: str, loop: str) -> int:
    found = list(compiled_modules())
    print(f"{side} on {loop}: {len(sys.modules)} modules, {len(found)} compiled beside Python's own", file=sys.stderr)
    for line in found:
        print(f"  {line}", file=sys.stderr)
    return 1 if found else 0


class Raw:
    """A codec that passes bytes through."""

    def encode(self, message: bytes, message_type: Any) -> bytes:
        return message

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return bytes(data)


UNARY, STREAM = "/pure.Echo/Once", "/pure.Echo/Again"


def _run_server(loop: str) -> int:
    import anyio

    anyio.run(_serve, backend=loop)
    return _verdict("server", loop)


async def _serve() -> None:
    import anyio.to_thread
    from grpclib.const import Cardinality, Handler

    from orbit_net.server import Server, ServerStream, Service

    class Echo(Service):
        async def once(self, request: bytes) -> bytes:
            return request

        async def again(self, stream: ServerStream[bytes, bytes]) -> AsyncIterator[bytes]:
            async for message in stream:
                yield message

        def __mapping__(self) -> dict[str, Any]:
            return {
                UNARY: Handler(self._unary_unary(self.once), Cardinality.UNARY_UNARY, bytes, bytes),
                STREAM: Handler(self._stream_stream(self.again), Cardinality.STREAM_STREAM, bytes, bytes),
            }

    async with Server([Echo()], codec=Raw()) as server:
        [address] = await server.listen("127.0.0.1:0")
        print(address, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)  # until the parent closes it


def _run_client(loop: str, address: str) -> int:
    import anyio

    anyio.run(_call, address, backend=loop)
    return _verdict("client", loop)


async def _call(address: str) -> None:
    from grpclib.const import Cardinality

    from orbit_net.client import Channel

    async with Channel(address, codec=Raw()) as channel:
        for number in range(CALLS):
            message = b"%d" % number
            async with channel.request(UNARY, Cardinality.UNARY_UNARY, bytes, bytes, timeout=10) as call:
                await call.send_message(message, end=True)
                assert await call.recv_message() == message
        async with channel.request(STREAM, Cardinality.STREAM_STREAM, bytes, bytes, timeout=10) as call:
            for number in range(CALLS):
                await call.send_message(b"%d" % number)
                assert await call.recv_message() == b"%d" % number
            await call.end()
            assert await call.recv_message() is None


if __name__ == "__main__":
    sys.exit(main())
