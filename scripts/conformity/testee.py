"""Answer the conformance runner: ``python testee.py CODEC FOLDER``, where FOLDER has the generated messages.

Each request and each answer is a message behind its length in four bytes, little-endian. What is not binary to binary,
or not proto3, is answered "skipped".
"""

from __future__ import annotations

import struct
import sys
from importlib import import_module
from typing import Any, BinaryIO

_LENGTH = struct.Struct("<I")


class Orbit:
    """Our codec."""

    def __init__(self) -> None:
        from orbit_net.codec import Codec

        self._codec = Codec()

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Return the message in ``data``."""
        return self._codec.decode(data, message_type)

    def encode(self, message: Any) -> bytes:
        """Return the bytes of ``message``."""
        return self._codec.encode(message, type(message))


class Betterproto2:
    """betterproto2's own methods, to compare."""

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Return the message in ``data``."""
        return message_type.parse(data)

    def encode(self, message: Any) -> bytes:
        """Return the bytes of ``message``."""
        return bytes(message)


def answer(codec: Any, conformance: Any, types: dict[str, Any], data: bytes) -> Any:
    """Return the answer to one request."""
    request = Orbit().decode(data, conformance.ConformanceRequest)
    response = conformance.ConformanceResponse
    if request.message_type == "conformance.FailureSet":
        return response(protobuf_payload=b"")
    message_type = types.get(request.message_type)
    if message_type is None:
        return response(skipped=f"{request.message_type} is not proto3")
    if request.protobuf_payload is None or request.requested_output_format != conformance.WireFormat.PROTOBUF:
        return response(skipped="not binary to binary")
    try:
        message = codec.decode(request.protobuf_payload, message_type)
    except Exception as error:  # noqa: BLE001 - whatever the codec under test raises is its answer
        return response(parse_error=f"{type(error).__name__}: {error}")
    try:
        return response(protobuf_payload=codec.encode(message))
    except Exception as error:  # noqa: BLE001
        return response(serialize_error=f"{type(error).__name__}: {error}")


def serve(codec: Any, conformance: Any, types: dict[str, Any], requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the runner closes its end."""
    write = Orbit()
    while True:
        head = requests.read(_LENGTH.size)
        if not head:
            return
        [size] = _LENGTH.unpack(head)
        data = write.encode(answer(codec, conformance, types, requests.read(size)))
        answers.write(_LENGTH.pack(len(data)) + data)
        answers.flush()


def main(name: str, folder: str) -> None:
    """Serve the codec ``name`` on standard input and output."""
    sys.path.insert(0, folder)
    proto3 = import_module("conformity_messages.protobuf_test_messages.proto3")
    types = {"protobuf_test_messages.proto3.TestAllTypesProto3": proto3.TestAllTypesProto3}
    codec = {"orbit_net": Orbit, "betterproto2": Betterproto2}[name]()
    conformance = import_module("conformity_messages.conformance")
    serve(codec, conformance, types, sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main(*sys.argv[1:])
